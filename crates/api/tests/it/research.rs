//! The knowledge base through every face, in front of one in memory.

mod grpc;
mod mcp;
mod perplexity;
mod rest;
