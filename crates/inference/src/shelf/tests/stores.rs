//! Models that Ollama and LM Studio keep.

use super::*;
use crate::shelf::digest::of_text;

/// A store as Ollama makes it.
struct OllamaStore<'a> {
    bed: &'a Bed,
}

impl OllamaStore<'_> {
    fn root(&self) -> PathBuf {
        self.bed.path("ollama")
    }

    /// Puts a blob, and gives its layer.
    fn layer(&self, kind: &str, bytes: &[u8]) -> serde_json::Value {
        let path = self.bed.put("ollama/blobs/new", bytes);
        let digest = Shelf::new(self.root(), Vec::new()).digest(&path).unwrap();
        fs::rename(&path, self.blob(&digest)).unwrap();
        let media = format!("application/vnd.ollama.image.{kind}");
        serde_json::json!({"mediaType": media, "digest": digest, "size": bytes.len()})
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.root().join("blobs").join(digest.replace(':', "-"))
    }

    fn manifest(&self, below: &str, layers: &[serde_json::Value]) {
        let manifest = serde_json::json!({"schemaVersion": 2, "config": {"digest": "sha256:0"}, "layers": layers});
        self.bed.put(&format!("ollama/manifests/registry.example/{below}"), manifest.to_string());
    }

    fn shelf(&self) -> Shelf {
        Shelf::new(self.bed.path("models"), vec![Store::Ollama { root: self.root() }])
    }
}

#[test]
fn models_of_ollama_have_the_names_that_people_know() {
    let bed = Bed::new();
    let store = OllamaStore { bed: &bed };
    let weights = store.layer("model", &chat("a"));
    let licence = store.layer("license", b"free");
    store.manifest("library/llama3.1/8b", &[weights.clone(), licence]);
    store.manifest("library/llama3.1/latest", std::slice::from_ref(&weights));
    store.manifest("someone/tuned/q4", &[weights]);
    let found = store.shelf().look();
    assert_eq!(names(&found), ["llama3.1:8b", "llama3.1:latest", "someone/tuned:q4"]);
    for model in &found {
        assert!(model.is_model() && model.variant.is_none() && model.notes.is_empty(), "{model:?}");
        assert_eq!(model.origin, Origin::Ollama);
    }
}

#[test]
fn a_blob_is_believed_only_once_its_bytes_were_read() {
    let bed = Bed::new();
    let store = OllamaStore { bed: &bed };
    let weights = store.layer("model", &chat("a"));
    store.manifest("library/a/latest", std::slice::from_ref(&weights));
    let shelf = store.shelf();
    let model = shelf.find("a:latest").unwrap();
    assert_eq!(model.digest, None);
    assert_eq!(shelf.identity(&model).unwrap(), weights["digest"].as_str().unwrap());
    assert_eq!(shelf.find("a:latest").unwrap().digest.as_deref(), weights["digest"].as_str());
}

#[test]
fn a_blob_that_is_not_what_its_name_says_is_told_as_damaged() {
    let bed = Bed::new();
    let store = OllamaStore { bed: &bed };
    let weights = store.layer("model", &chat("a"));
    store.manifest("library/a/latest", std::slice::from_ref(&weights));
    let path = store.blob(weights["digest"].as_str().unwrap());
    fs::write(&path, chat("b")).unwrap();
    let shelf = store.shelf();
    let fault = shelf.digest(&path).unwrap_err();
    assert_eq!(fault.code, Code::Conflict);
    let model = shelf.find("a:latest").unwrap();
    assert!(model.header.unwrap_err().contains("not what its name says"));
    assert_eq!(model.digest, None);
}

#[test]
fn what_else_a_manifest_names_is_used_or_told() {
    let bed = Bed::new();
    let store = OllamaStore { bed: &bed };
    let layers = [
        store.layer("model", &chat("a")),
        store.layer("system", b"Be brief."),
        store.layer("params", br#"{"stop": ["<end>"], "temperature": 0.5, "num_gpu": 3, "top_p": 7}"#),
        store.layer("adapter", &Sample::adapter().bytes()),
        store.layer("template", b"{{ .Prompt }}"),
        store.layer("projector", b"eyes"),
    ];
    store.manifest("library/a/latest", &layers);
    let shelf = store.shelf();
    let model = shelf.find("a:latest").unwrap();
    let variant = model.variant.as_ref().unwrap();
    assert_eq!(variant.system.as_deref(), Some("Be brief."));
    assert_eq!(
        variant.parameters,
        Parameters { temperature: Some(0.5), stop: vec!["<end>".to_owned()], ..Parameters::default() }
    );
    assert_eq!(model.adapter, Some(store.blob(layers[3]["digest"].as_str().unwrap())));
    assert_eq!(
        model.notes,
        [
            "its parameter `num_gpu` is not used",
            "its parameter `top_p` is not used",
            "its template of Ollama is not used, but the one in the file",
            "its projector is not used: it sees no pictures here",
        ]
    );
    assert_eq!(model.digest, None);
    let identity = shelf.identity(&model).unwrap();
    assert_ne!(Some(identity.as_str()), layers[0]["digest"].as_str(), "it is another model than its weights alone");
    assert_eq!(shelf.find("a:latest").unwrap().digest, Some(identity));
}

#[test]
fn manifests_that_cannot_be_used_are_told() {
    let bed = Bed::new();
    let store = OllamaStore { bed: &bed };
    let weights = store.layer("model", &chat("a"));
    store.manifest("library/none/latest", &[]);
    store.manifest("library/two/latest", &[weights.clone(), weights]);
    let layer = |digest: &str| serde_json::json!({"mediaType": "application/vnd.ollama.image.model", "digest": digest});
    store.manifest("library/out/latest", &[layer("sha256:../../../secret")]);
    store.manifest("library/gone/latest", &[layer(&of_text("gone"))]);
    bed.put("ollama/manifests/registry.example/library/junk/latest", "junk");
    bed.put("ollama/manifests/stray", "not at the depth of a manifest");
    let shelf = store.shelf();
    assert_eq!(names(&shelf.look()), ["gone:latest", "junk:latest", "none:latest", "out:latest", "two:latest"]);
    assert!(fault(&shelf, "none:latest").contains("it names no weights"));
    assert!(fault(&shelf, "two:latest").contains("it names 2 files of weights"));
    assert!(fault(&shelf, "out:latest").contains("is no digest"));
    assert!(fault(&shelf, "gone:latest").contains("it points to nothing"));
    assert!(fault(&shelf, "junk:latest").contains("pull `junk:latest` again with Ollama"));
}

#[test]
fn models_of_lm_studio_are_called_by_publisher_and_file() {
    let bed = Bed::new();
    bed.put("studio/somebody/Talker-GGUF/talker-Q8_0.gguf", chat("a"));
    bed.put("studio/loose.gguf", chat("b"));
    let shelf = Shelf::new(bed.path("models"), vec![Store::LmStudio { root: bed.path("studio") }]);
    assert_eq!(names(&shelf.look()), ["loose", "somebody/talker-Q8_0"]);
}

#[test]
fn of_two_with_one_name_none_is_hidden() {
    let bed = Bed::new();
    bed.put("models/same.gguf", chat("a"));
    bed.put("models/below/same.gguf", chat("b"));
    bed.put("studio/same.gguf", chat("c"));
    bed.put("studio/a/b/twin.gguf", chat("d"));
    bed.put("studio/a/c/twin.gguf", chat("e"));
    bed.put("studio/a/d/twin.gguf", chat("f"));
    let shelf = Shelf::new(bed.path("models"), vec![Store::LmStudio { root: bed.path("studio") }]);
    let found = shelf.look();
    let all = ["a/twin", "a/twin@lmstudio", "a/twin@lmstudio-2", "same", "same@folder", "same@lmstudio"];
    assert_eq!(names(&found), all);
    assert_eq!(found[5].notes, ["another model is called `same`, so this one is `same@lmstudio`"]);
    assert_eq!(names(&shelf.look()), all, "and they stay as they are");
}
