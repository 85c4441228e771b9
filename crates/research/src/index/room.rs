//! Which faults of the index are a disk without room: those are waited for, and nothing that is there is thrown away for them.

use std::io;

use base::{Code, Fault};
use tantivy::TantivyError;
use tantivy::directory::error::{LockError, OpenDirectoryError, OpenReadError, OpenWriteError};

use crate::is_full_disk;

/// The operating system's word, where it says that there is no room on the disk. tantivy's own has the name of a file in it
/// that was there for a moment only.
pub(super) fn full(error: &TantivyError) -> Option<io::ErrorKind> {
    use TantivyError as Error;
    let cause = match error {
        Error::IoError(cause)
        | Error::LockFailure(LockError::IoError(cause), _)
        | Error::OpenWriteError(OpenWriteError::IoError { io_error: cause, .. })
        | Error::OpenReadError(OpenReadError::IoError { io_error: cause, .. })
        | Error::OpenDirectoryError(
            OpenDirectoryError::FailedToCreateTempDir(cause) | OpenDirectoryError::IoError { io_error: cause, .. },
        ) => cause,
        _ => return None,
    };
    is_full_disk(cause).then(|| cause.kind())
}

/// The fault of a disk without room.
pub(super) fn none(why: io::ErrorKind) -> Fault {
    let hint =
        "make room on the disk of `node.data_dir`; what is added is kept meanwhile, and found when there is some";
    Fault::new(Code::StorageFull, format!("there is no room for the index of documents: {why}")).hint(hint)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn a_full_disk_is_told_from_every_other_fault_wherever_it_was_met() {
        let io = |kind: io::ErrorKind| Arc::new(io::Error::from(kind));
        let everywhere = |kind| {
            [
                TantivyError::IoError(io(kind)),
                TantivyError::LockFailure(LockError::IoError(io(kind)), None),
                OpenWriteError::IoError { io_error: io(kind), filepath: "a".into() }.into(),
                OpenReadError::IoError { io_error: io(kind), filepath: "a".into() }.into(),
                OpenDirectoryError::IoError { io_error: io(kind), directory_path: "a".into() }.into(),
            ]
        };
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            assert!(everywhere(kind).iter().all(|error| full(error) == Some(kind)), "{kind}");
        }
        assert!(everywhere(io::ErrorKind::PermissionDenied).iter().all(|error| full(error).is_none()));
        assert_eq!(full(&TantivyError::LockFailure(LockError::LockBusy, None)), None);
        assert_eq!(full(&TantivyError::ErrorInThread("no room".into())), None);
    }
}
