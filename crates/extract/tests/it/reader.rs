//! A reader whose children are the test binary that this file is part of.

use std::ffi::OsString;

use extract::child::{Reader, child_main};

/// What a child of these tests is told, behind which it reads a document.
const CHILD: &str = "read-document";

/// A reader whose children are this binary.
pub fn reader(at_once: usize) -> Reader {
    let arguments = ["--exact", "reader::child", "--nocapture", CHILD];
    let arguments = arguments.iter().map(OsString::from).collect();
    Reader::new(std::env::current_exe().unwrap(), arguments, at_once)
}

/// Only does something when a reader has started it.
#[test]
fn child() {
    if std::env::args().any(|argument| argument == CHILD) {
        child_main();
        // The harness's own words would follow the answer.
        std::process::exit(0);
    }
}
