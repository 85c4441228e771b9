//! What the kernel tells of changes in watched folders: only that something changed, and where it begins. What changed is
//! found by looking, so that an event too many or too few does no harm.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use notify::event::{AccessKind, AccessMode};
use notify::{Config, Event, EventKind, RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;

/// Watches folders.
pub struct Changes {
    /// Why there is none, where the kernel gives none.
    watcher: Mutex<Result<RecommendedWatcher, String>>,
    touched: Arc<Touched>,
}

#[derive(Default)]
struct Touched {
    folders: Mutex<Folders>,
    some: Notify,
}

#[derive(Default)]
struct Folders {
    all: BTreeSet<PathBuf>,
    touched: BTreeSet<PathBuf>,
}

impl Changes {
    /// No folder yet.
    pub fn listen() -> Self {
        let touched = Arc::new(Touched::default());
        let heard = touched.clone();
        let config = Config::default().with_follow_symlinks(false);
        let watcher = RecommendedWatcher::new(move |event| heard.hear(event), config);
        Self { watcher: Mutex::new(watcher.map_err(|error| error.to_string())), touched }
    }

    /// Begins to watch a folder, anew where it was watched before. Blocks: each folder below it is visited. The error says
    /// why its changes are not told.
    pub fn follow(&self, folder: &Path) -> Result<(), String> {
        self.forget(folder);
        let mut watcher = self.watcher.lock().unwrap_or_else(PoisonError::into_inner);
        let watcher = watcher.as_mut().map_err(|why| why.clone())?;
        self.touched.folders().all.insert(folder.to_owned());
        watcher.watch(folder, RecursiveMode::Recursive).map_err(|error| error.to_string())
    }

    /// Stops watching it.
    pub fn forget(&self, folder: &Path) {
        if !self.touched.folders().all.remove(folder) {
            return;
        }
        if let Ok(watcher) = &mut *self.watcher.lock().unwrap_or_else(PoisonError::into_inner) {
            // A folder that is gone is not watched any more.
            let _ = watcher.unwatch(folder);
        }
    }

    /// Waits until something changed, and gives the folders in which.
    pub async fn next(&self) -> BTreeSet<PathBuf> {
        loop {
            let some = self.touched.some.notified();
            let touched = std::mem::take(&mut self.touched.folders().touched);
            if !touched.is_empty() {
                return touched;
            }
            some.await;
        }
    }
}

impl Touched {
    fn folders(&self) -> std::sync::MutexGuard<'_, Folders> {
        self.folders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn hear(&self, event: notify::Result<Event>) {
        let mut folders = self.folders();
        let touched: Vec<PathBuf> = match event {
            Ok(event) if !may_matter(&event) => return,
            Ok(event) if !event.need_rescan() => {
                let holds = |folder: &&PathBuf| event.paths.iter().any(|path| path.starts_with(folder));
                folders.all.iter().filter(holds).cloned().collect()
            }
            // Something was lost: anything may have changed.
            Ok(_) | Err(_) => folders.all.iter().cloned().collect(),
        };
        folders.touched.extend(touched);
        drop(folders);
        self.some.notify_one();
    }
}

/// Opening and reading change nothing, and looking through a folder does both.
fn may_matter(event: &Event) -> bool {
    match event.kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn writing_is_told_and_reading_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let folder = fs::canonicalize(dir.path()).unwrap();
        fs::create_dir(folder.join("deep")).unwrap();
        fs::write(folder.join("deep/a.md"), "old").unwrap();
        let changes = Changes::listen();
        changes.follow(&folder).unwrap();
        let told = async || tokio::time::timeout(Duration::from_millis(400), changes.next()).await.ok();
        assert_eq!(fs::read(folder.join("deep/a.md")).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.join("deep")).unwrap().count(), 1);
        assert_eq!(told().await, None);
        fs::write(folder.join("deep/a.md"), "new").unwrap();
        assert_eq!(told().await, Some([folder.clone()].into()));
        while told().await.is_some() {}
        changes.forget(&folder);
        fs::write(folder.join("deep/a.md"), "newer").unwrap();
        assert_eq!(told().await, None);
    }
}
