//! Floods of HTTP/2 frames at the gRPC face: those that a server can tell from a client's work end their connection, and the
//! others cost it no memory.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use super::{SOON, is_unharmed, node};
use crate::standing::Peak;

/// What a server tells a client whose frames are too many.
const ENHANCE_YOUR_CALM: u32 = 11;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// What a node may need more while it is flooded.
const FLOODED_KIB: u64 = 10 << 10;

#[tokio::test]
async fn a_flood_of_frames_ends_the_connection_that_makes_it() -> Result<()> {
    let (lab, before) = node(&[], "").await?;
    for (name, frames) in [
        ("rapid reset", rapid_reset(20_000)),
        ("a head without end", endless_head(50_000)),
        ("data with nothing in it", empty_data(200_000)),
    ] {
        let (mut reader, mut writer) = TcpStream::connect(&lab.nodes[0].grpc).await?.into_split();
        // The server may end the connection in the middle of it; the client never does.
        let mut sending = JoinSet::new();
        sending.spawn(async move {
            let _ = writer.write_all(&frames).await;
            writer
        });
        let mut all = Vec::new();
        let ended = tokio::time::timeout(SOON * 2, reader.read_to_end(&mut all)).await;
        ensure!(ended.is_ok(), "{name}: the connection goes on after {} bytes of answers", all.len());
        ensure!(all.len() < 4 << 20, "{name}: it was answered with {} bytes", all.len());
        ensure!(reason(&all) == Some(ENHANCE_YOUR_CALM), "{name}: it was ended for {:?}", reason(&all));
        ensure!(!lab.nodes[0].nodes().await?.is_empty(), "{name}: other clients are served");
    }
    is_unharmed(&lab, before).await
}

#[tokio::test]
async fn frames_that_want_an_answer_cost_nothing_while_nobody_reads_it() -> Result<()> {
    const FLOOD: Duration = Duration::from_secs(2);
    const MOST_BYTES: usize = 64 << 20;
    let (lab, before) = node(&[], "").await?;
    for (name, wish) in [("settings", frame(4, 0, 0, &[0, 3, 0, 0, 0, 100])), ("pings", frame(6, 0, 0, b"flooding"))] {
        let peak = Peak::from_now(lab.nodes[0].child.pid())?;
        let mut stream = TcpStream::connect(&lab.nodes[0].grpc).await?;
        stream.write_all(&[PREFACE, &frame(4, 0, 0, &[])].concat()).await?;
        let wishes = wish.repeat(4096);
        let flood = async {
            let mut sent = 0;
            while sent < MOST_BYTES && stream.write_all(&wishes).await.is_ok() {
                sent += wishes.len();
            }
        };
        // Most of it is never taken, since the answers find no room.
        let _ = tokio::time::timeout(FLOOD, flood).await;
        ensure!(!lab.nodes[0].nodes().await.context(name)?.is_empty(), "{name}: other clients are served");
        let grown = peak.grown_kib()?;
        ensure!(grown < FLOODED_KIB, "{name}: {grown} KiB more at the peak");
    }
    is_unharmed(&lab, before).await
}

/// Why a server said that it ends a connection: the code of its last GOAWAY frame.
fn reason(mut bytes: &[u8]) -> Option<u32> {
    let mut reason = None;
    while let Some((head, rest)) = bytes.split_at_checked(9) {
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
        let Some((payload, after)) = rest.split_at_checked(length) else { break };
        if head[3] == 7 {
            reason = payload.get(4..8).and_then(|code| Some(u32::from_be_bytes(code.try_into().ok()?)));
        }
        bytes = after;
    }
    reason
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The head of a call, as HPACK writes it.
fn head() -> Vec<u8> {
    let path = b"/taskmaster.admin.v1.Admin/ListNodes";
    // POST, http, and two literals without an index: the path and `application/grpc`.
    let mut block = vec![0x83, 0x86, 0x04, path.len() as u8];
    block.extend_from_slice(path);
    block.extend_from_slice(b"\x01\x09localhost\x0f\x10\x10application/grpc");
    block
}

/// Streams that are opened and reset at once.
fn rapid_reset(count: u32) -> Vec<u8> {
    let (block, mut all) = (head(), [PREFACE, &frame(4, 0, 0, &[])].concat());
    for stream in (0..count).map(|at| at * 2 + 1) {
        all.extend(frame(1, 4, stream, &block));
        all.extend(frame(3, 0, stream, &8_u32.to_be_bytes()));
    }
    all
}

/// A head that goes on and on in CONTINUATION frames.
fn endless_head(count: usize) -> Vec<u8> {
    let mut all = [PREFACE, &frame(4, 0, 0, &[]), &frame(1, 0, 1, &head())].concat();
    // A literal without an index: the name `a`, the value `b`.
    all.extend(frame(9, 0, 1, &b"\x00\x01a\x01b".repeat(20)).repeat(count));
    all
}

/// A body of frames with nothing in them.
fn empty_data(count: usize) -> Vec<u8> {
    let mut all = [PREFACE, &frame(4, 0, 0, &[]), &frame(1, 4, 1, &head())].concat();
    all.extend(frame(0, 0, 1, &[]).repeat(count));
    all
}
