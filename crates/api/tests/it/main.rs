//! The faces over real sockets, in front of a desk that follows a script.

mod client;
mod desk;
mod grpc;
mod hostile;
mod http;
mod patience;
