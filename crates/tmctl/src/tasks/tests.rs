//! What is typed becomes the right call.
