//! Spellings: what engines and clients call the same model, brought to one form, and how far two names are apart.

/// One form for the spellings of Ollama, LM Studio, LocalAI, Hugging Face and plain files:
/// `Meta-Llama/Llama-3.1-8B-Instruct`, `llama-3.1-8b-instruct@q4_k_m` and `Llama_3.1_8B_Instruct.gguf` come out equal.
pub fn normalise(name: &str) -> String {
    let name = name.trim();
    let name = name.rsplit('/').next().unwrap_or(name);
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let mut name = name.to_ascii_lowercase().replace(['_', ' '], "-");
    for ending in [":latest", ".gguf", "-gguf"] {
        name.truncate(name.strip_suffix(ending).unwrap_or(&name).len());
    }
    name
}

/// Levenshtein distance; the names are cut at 64 characters, so its cost is bounded.
pub fn edit_distance(one: &str, two: &str) -> usize {
    let one: Vec<char> = one.chars().take(64).collect();
    let mut before: Vec<usize> = (0..=one.len()).collect();
    for (row, other) in two.chars().take(64).enumerate() {
        let mut diagonal = row;
        let mut left = row + 1;
        for (cell, &char) in before.iter_mut().skip(1).zip(&one) {
            let above = *cell;
            left = (diagonal + usize::from(char != other)).min(above + 1).min(left + 1);
            diagonal = above;
            *cell = left;
        }
        if let Some(first) = before.first_mut() {
            *first = row + 1;
        }
    }
    before.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_of_one_model_come_out_equal() {
        for name in [
            "Llama-3.1-8B-Instruct",
            "meta-llama/Llama-3.1-8B-Instruct",
            "llama-3.1-8b-instruct@q4_k_m",
            "Llama_3.1_8B_Instruct.gguf",
        ] {
            assert_eq!(normalise(name), "llama-3.1-8b-instruct", "{name}");
        }
        assert_eq!(normalise("registry.ollama.ai/library/Mistral:latest"), "mistral");
        assert_eq!(normalise("llama3.1:8b"), "llama3.1:8b");
    }

    #[test]
    fn distance_counts_edits() {
        for (one, two, distance) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("mistral:7b", "mistal:7b", 1), ("abc", "abc", 0)]
        {
            assert_eq!((edit_distance(one, two), edit_distance(two, one)), (distance, distance), "{one} {two}");
        }
    }
}
