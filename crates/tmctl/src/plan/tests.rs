//! What is shown of a plan, and plans that come over real sockets.
