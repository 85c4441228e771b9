//! A tool that must be called, on an engine that only knows schemas: the text of its answer is the call's arguments.

use base::{Event, Finish};

/// Makes the events of such an answer into those of a call.
#[derive(Debug)]
pub(crate) struct Called {
    tool: String,
    has_begun: bool,
}

impl Called {
    /// The answer is a call of `tool`.
    pub(crate) fn new(tool: String) -> Self {
        Self { tool, has_begun: false }
    }

    /// What the client is to see of `event`.
    pub(crate) fn event(&mut self, event: Event) -> Event {
        match event {
            Event::Text(arguments) => {
                let name = (!self.has_begun).then(|| self.tool.clone());
                self.has_begun = true;
                Event::ToolCall { index: 0, id: None, name, arguments }
            }
            Event::Done(Finish::Stop) if self.has_begun => Event::Done(Finish::ToolCalls),
            event => event,
        }
    }
}
