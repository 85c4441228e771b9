//! The machine's NVIDIA GPUs as their driver tells. No driver is the normal case of most machines, not an error.
//!
//! Calls into the driver block, in bad moments for seconds: read on a thread for blocking work.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use base::report::{Gpu, GpuProcess};
use nvml_wrapper::enum_wrappers::device::TemperatureSensor;
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};

/// Where the driver's library is: on the search path, on NixOS, under WSL.
const USUAL_PATHS: [&str; 3] =
    ["libnvidia-ml.so.1", "/run/opengl-driver/lib/libnvidia-ml.so.1", "/usr/lib/wsl/lib/libnvidia-ml.so.1"];
/// A driver that was not there rarely comes while the daemon runs (an installation, a module loaded late).
const RETRY: Duration = Duration::from_secs(60);

/// Reads the GPUs; opens the driver's library again by itself when it is not there or has failed.
pub struct Probe {
    paths: Vec<PathBuf>,
    driver: Option<Nvml>,
    /// GPUs as they were last seen well: what a fault is about once the driver tells nothing any more.
    known: Vec<Gpu>,
    /// Why the driver cannot be opened, as it was logged.
    logged: Option<String>,
    retry_at: Option<Instant>,
}

impl Probe {
    /// A probe for the library at `lib_path`, or in the usual places.
    pub fn open(lib_path: Option<&Path>) -> Self {
        let paths = match lib_path {
            Some(path) => vec![path.to_owned()],
            None => USUAL_PATHS.iter().map(PathBuf::from).collect(),
        };
        Self { paths, driver: None, known: Vec::new(), logged: None, retry_at: None }
    }

    /// Every GPU, also those with a fault; none without a driver.
    pub fn read(&mut self) -> Vec<Gpu> {
        self.read_at(Instant::now())
    }

    fn read_at(&mut self, now: Instant) -> Vec<Gpu> {
        if self.driver.is_none() && self.retry_at.is_none_or(|at| at <= now) {
            self.connect(now);
        }
        let Some(driver) = &self.driver else {
            let why = self.logged.as_deref().unwrap_or("the driver does not answer");
            return self.known.iter().map(|gpu| with_fault(gpu.clone(), why)).collect();
        };
        let count = match driver.device_count() {
            Ok(count) => count,
            Err(error) => return self.lose_driver(&error, now),
        };
        let gpus: Vec<Gpu> = (0..count).map(|index| read_device(driver, index, &self.known)).collect();
        self.remember(&gpus);
        gpus
    }

    fn connect(&mut self, now: Instant) {
        let mut failure = None;
        for path in &self.paths {
            match Nvml::builder().lib_path(OsStr::new(path)).init() {
                Ok(driver) => {
                    tracing::info!(path = %path.display(), "NVIDIA driver found");
                    (self.driver, self.logged, self.retry_at) = (Some(driver), None, None);
                    return;
                }
                // A library that is there and fails says more than one that is not there.
                Err(error) if failure.is_none() || !matches!(error, NvmlError::LibloadingError(_)) => {
                    failure = Some(error);
                }
                Err(_) => {}
            }
        }
        self.retry_at = Some(now + RETRY);
        if let Some(error) = failure {
            self.log_once(&error);
        }
    }

    fn log_once(&mut self, error: &NvmlError) {
        let text = error.to_string();
        if self.logged.as_ref() == Some(&text) {
            return;
        }
        match error {
            NvmlError::LibloadingError(_) => tracing::info!(%error, "no NVIDIA driver on this machine"),
            _ => tracing::warn!(%error, "NVIDIA driver does not work; after an update of it, reboot"),
        }
        self.logged = Some(text);
    }

    fn lose_driver(&mut self, error: &NvmlError, now: Instant) -> Vec<Gpu> {
        self.log_once(error);
        self.driver = None;
        self.retry_at = Some(now + RETRY);
        self.known.iter().map(|gpu| with_fault(gpu.clone(), &error.to_string())).collect()
    }

    fn remember(&mut self, gpus: &[Gpu]) {
        if gpus.iter().all(|gpu| gpu.fault.is_none()) {
            self.known = gpus.to_vec();
        }
    }
}

impl std::fmt::Debug for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Probe").field("paths", &self.paths).field("known", &self.known).finish_non_exhaustive()
    }
}

fn read_device(driver: &Nvml, index: u32, known: &[Gpu]) -> Gpu {
    let read = driver.device_by_index(index).and_then(|device| read_whole(&device));
    read.unwrap_or_else(|error| {
        let position = usize::try_from(index).ok();
        let gpu = position.and_then(|position| known.get(position)).cloned();
        with_fault(gpu.unwrap_or_else(|| unnamed(index)), &error.to_string())
    })
}

fn read_whole(device: &Device<'_>) -> Result<Gpu, NvmlError> {
    let memory = offered(device.memory_info())?;
    Ok(Gpu {
        uuid: device.uuid()?,
        name: device.name()?,
        memory_bytes: memory.as_ref().map_or(0, |memory| memory.total),
        memory_used_bytes: memory.as_ref().map_or(0, |memory| memory.used),
        used: offered(device.utilization_rates())?.map_or(0.0, |rates| f64::from(rates.gpu) / 100.0),
        power_w: offered(device.power_usage())?.map(|milliwatts| f64::from(milliwatts) / 1000.0),
        temperature_c: offered(device.temperature(TemperatureSensor::Gpu))?.map(f64::from),
        fault: None,
        processes: offered(device.running_compute_processes())?.unwrap_or_default().iter().map(process).collect(),
    })
}

/// `None` where the device or an old driver does not offer a value: that is no fault of the GPU.
fn offered<T>(value: Result<T, NvmlError>) -> Result<Option<T>, NvmlError> {
    match value {
        Ok(value) => Ok(Some(value)),
        Err(NvmlError::NotSupported | NvmlError::FailedToLoadSymbol(_) | NvmlError::NoPermission) => Ok(None),
        Err(error) => Err(error),
    }
}

fn process(info: &ProcessInfo) -> GpuProcess {
    let memory_bytes = match info.used_gpu_memory {
        UsedGpuMemory::Used(bytes) => bytes,
        UsedGpuMemory::Unavailable => 0,
    };
    GpuProcess { pid: info.pid, memory_bytes }
}

/// A GPU that cannot be used computes nothing, and nobody knows who holds its memory.
fn with_fault(gpu: Gpu, fault: &str) -> Gpu {
    Gpu { used: 0.0, power_w: None, temperature_c: None, processes: Vec::new(), fault: Some(fault.to_owned()), ..gpu }
}

fn unnamed(index: u32) -> Gpu {
    Gpu {
        uuid: format!("index-{index}"),
        name: format!("GPU {index}"),
        memory_bytes: 0,
        memory_used_bytes: 0,
        used: 0.0,
        power_w: None,
        temperature_c: None,
        fault: None,
        processes: Vec::new(),
    }
}

#[cfg(test)]
mod tests;
