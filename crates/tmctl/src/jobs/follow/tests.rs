//! Jobs that are followed over real sockets.
