//! A folder and a scripted server.
