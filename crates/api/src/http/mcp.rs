//! MCP.

/// Where MCP clients talk to.
pub(super) const PATH: &str = "/mcp";
