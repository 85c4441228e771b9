//! Wishes that are shown, confirmed and made over real sockets.
