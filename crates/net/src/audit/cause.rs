//! Why something is dialled: the ask or the document that a task works on, and the setting that names the destination.

use std::sync::Arc;

tokio::task_local! {
    static CAUSE: Arc<str>;
}

/// Runs `work`; what it dials itself is on record with this cause. Tasks that it spawns are not its own.
pub fn caused_by<F: Future>(cause: impl Into<Arc<str>>, work: F) -> impl Future<Output = F::Output> {
    CAUSE.scope(cause.into(), work)
}

/// The cause of the running task, and the setting behind the destination.
pub(crate) fn reason(setting: &Arc<str>) -> Arc<str> {
    let with_cause = |cause: &Arc<str>| match setting.is_empty() {
        true => Arc::clone(cause),
        false => format!("{cause} ({setting})").into(),
    };
    CAUSE.try_with(with_cause).unwrap_or_else(|_| Arc::clone(setting))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_task_works_on_stands_before_the_setting() {
        let (setting, none): (Arc<str>, Arc<str>) = ("workers.cloud".into(), "".into());
        assert_eq!(&*reason(&setting), "workers.cloud");
        let inside = caused_by("ask-1", async { (reason(&setting), reason(&none)) }).await;
        assert_eq!((&*inside.0, &*inside.1), ("ask-1 (workers.cloud)", "ask-1"));
        assert_eq!(&*reason(&none), "");
    }
}
