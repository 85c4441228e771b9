//! The real wrapper against a stand-in library, compiled here with its state file built in.

use std::process::Command;

use super::*;

struct Stub {
    dir: tempfile::TempDir,
}

impl Stub {
    /// `None`, with the reason printed, where there is no C compiler.
    fn build(state: &str) -> Option<Self> {
        let stub = Self { dir: tempfile::tempdir().unwrap() };
        stub.set(state);
        let built = Command::new("cc")
            .args(["-shared", "-fPIC", "-o"])
            .arg(stub.library())
            .arg(format!("-DSTATE=\"{}\"", stub.dir.path().join("state").display()))
            .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/tests-data/nvml_stub.c"))
            .status();
        match built {
            Ok(status) => assert!(status.success(), "the stand-in does not compile"),
            Err(error) => {
                println!("skipped: no C compiler for the stand-in of the driver: {error}");
                return None;
            }
        }
        Some(stub)
    }

    fn set(&self, state: &str) {
        std::fs::write(self.dir.path().join("state"), state).unwrap();
    }

    fn library(&self) -> PathBuf {
        self.dir.path().join("libnvidia-ml.so.1")
    }
}

#[test]
fn machine_without_a_driver_has_no_gpus_and_no_error() {
    let mut probe = Probe::open(Some(Path::new("/no/such/libnvidia-ml.so.1")));
    assert_eq!(probe.read(), []);
    assert_eq!(probe.read(), []);
}

#[test]
fn gpus_are_read_anew_each_time() {
    let Some(stub) = Stub::build("0 2 -1 97") else { return };
    let mut probe = Probe::open(Some(&stub.library()));
    let gpus = probe.read();
    let gpu = &gpus[1];
    assert_eq!((gpus.len(), gpu.uuid.as_str(), gpu.name.as_str()), (2, "GPU-1", "NVIDIA Stub 3090"));
    assert_eq!((gpu.memory_bytes >> 20, gpu.memory_used_bytes >> 20, gpu.used), (24564, 1024, 0.97));
    assert_eq!((gpu.temperature_c, gpu.power_w, gpu.fault.as_deref()), (Some(61.0), None, None));
    assert_eq!(gpu.processes, [GpuProcess { pid: 4242, memory_bytes: 512 << 20 }]);
    stub.set("0 1 -1 1");
    let gpus = probe.read();
    assert_eq!((gpus.len(), gpus[0].used), (1, 0.01));
}

#[test]
fn lost_gpu_keeps_its_name_and_gets_a_fault() {
    let Some(stub) = Stub::build("0 2 -1 50") else { return };
    let mut probe = Probe::open(Some(&stub.library()));
    probe.read();
    stub.set("0 2 1 50");
    let gpus = probe.read();
    assert_eq!((gpus[0].fault.as_deref(), gpus[1].uuid.as_str()), (None, "GPU-1"));
    assert!(gpus[1].fault.is_some() && gpus[1].processes.is_empty(), "{:?}", gpus[1]);
    stub.set("0 2 -1 50");
    assert_eq!(probe.read()[1].fault, None);
}

#[test]
fn driver_that_fails_leaves_its_gpus_with_a_fault_and_is_tried_again() {
    let Some(stub) = Stub::build("0 1 -1 50") else { return };
    let mut probe = Probe::open(Some(&stub.library()));
    let now = Instant::now();
    assert_eq!(probe.read_at(now)[0].fault, None);
    stub.set("9 1 -1 50");
    assert!(probe.read_at(now)[0].fault.is_some());
    stub.set("0 1 -1 50");
    assert!(probe.read_at(now)[0].fault.is_some(), "tried again at once");
    assert_eq!(probe.read_at(now + RETRY)[0].fault, None);
}

#[test]
fn driver_that_is_not_loaded_is_no_gpu() {
    let Some(stub) = Stub::build("9 1 -1 50") else { return };
    let mut probe = Probe::open(Some(&stub.library()));
    assert_eq!(probe.read(), []);
}
