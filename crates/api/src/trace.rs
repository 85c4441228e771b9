//! What work that is no ask belongs to: the client's trace at the door, and from there on the work itself.

use std::sync::Arc;

tokio::task_local! {
    static PARENT: Arc<str>;
}

/// The `traceparent` that the current work goes on from; empty where nobody told one.
pub fn parent() -> Arc<str> {
    PARENT.try_with(Arc::clone).unwrap_or_else(|_| Arc::from(""))
}

/// Does work as a child of `traceparent`.
pub async fn within<T>(traceparent: Arc<str>, work: impl Future<Output = T>) -> T {
    PARENT.scope(traceparent, work).await
}

/// A call of a tool that has not ended; dropping it says that nobody waited for its end.
pub trait ToolCall: Send {
    /// What the call hands on; empty where it has no span.
    fn traceparent(&self) -> Arc<str>;

    /// It ended as `outcome` says, `ok` or a code.
    fn ended(&mut self, outcome: &str);
}

/// A call that nobody looks at.
pub struct Unseen;

impl ToolCall for Unseen {
    fn traceparent(&self) -> Arc<str> {
        "".into()
    }

    fn ended(&mut self, _: &str) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_is_a_child_of_what_it_is_done_within() {
        assert_eq!(&*parent(), "");
        let inner = within("outer".into(), async {
            assert_eq!(&*parent(), "outer");
            within("inner".into(), async { parent() }).await
        });
        assert_eq!(&*inner.await, "inner");
    }
}
