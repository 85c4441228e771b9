//! The client against small scripted servers on loopback.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use base::Code;
use base::answer::{collect, next_frame};
use proptest::prelude::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::pool::MOST_IDLE;
use super::*;
use crate::scripted::{self, read_request};

/// What a scripted connection does with each request, in order; then it closes.
type Script = Vec<Vec<u8>>;

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// A pool on a listener of its own, and a count of the connections that it dialled.
async fn listen() -> (Pool, TcpListener, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let dialled = Arc::new(AtomicUsize::new(0));
    let count = dialled.clone();
    let inner = scripted::dial(address);
    let dial: Dial = Arc::new(move || {
        count.fetch_add(1, Ordering::Relaxed);
        inner()
    });
    (Pool::new("scripted", Endpoint::parse(&format!("http://{address}")).unwrap(), dial), listener, dialled)
}

/// Serves one script per connection, then no more.
fn serve(listener: TcpListener, scripts: Vec<Script>) -> tokio::task::JoinSet<()> {
    let mut tasks = tokio::task::JoinSet::new();
    tasks.spawn(async move {
        for script in scripts {
            let (mut stream, _) = listener.accept().await.unwrap();
            for answer in script {
                if read_request(&mut stream).await.is_none() {
                    break;
                }
                if stream.write_all(&answer).await.is_err() {
                    break;
                }
            }
        }
    });
    tasks
}

fn answer(body: &str) -> Vec<u8> {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

async fn get(pool: &Pool) -> Result<String> {
    let mut response = pool.send(&Request::get("/x"), soon()).await?;
    let body = collect(&mut response.body, 1 << 20).await?;
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn connection_is_used_again_after_a_clean_end() {
    let (pool, listener, dialled) = listen().await;
    let chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\ntwo\r\n0\r\n\r\n".to_vec();
    let _server = serve(listener, vec![vec![answer("one"), chunked, answer("")]]);
    assert_eq!(get(&pool).await.unwrap(), "one");
    assert_eq!(get(&pool).await.unwrap(), "two");
    assert_eq!(get(&pool).await.unwrap(), "");
    assert_eq!((dialled.load(Ordering::Relaxed), pool.idle()), (1, 1));
}

#[tokio::test]
async fn request_carries_its_body_and_length() {
    let (pool, listener, _) = listen().await;
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = read_request(&mut stream).await.unwrap();
        stream
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n")
            .await
            .unwrap();
        request
    });
    let body = "x".repeat(300_000);
    let response = pool.send(&Request::post("/v1/x", body.clone()), soon()).await.unwrap();
    assert_eq!((response.status, response.content_length), (201, Some(0)));
    let request = server.join_next().await.unwrap().unwrap();
    assert!(request.starts_with("POST /v1/x HTTP/1.1\r\n") && request.ends_with(&format!("\r\n\r\n{body}")));
}

#[tokio::test]
async fn refusal_of_a_large_request_is_heard_although_it_is_not_read() {
    let (pool, listener, _) = listen().await;
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n").await.unwrap();
        stream.readable().await.unwrap();
        std::future::pending::<()>().await;
        drop(stream);
    });
    let request = Request::post("/v1/x", vec![b'x'; 64 << 20]);
    let response = pool.send(&request, soon()).await.unwrap();
    assert_eq!((response.status, pool.idle()), (413, 0));
}

#[tokio::test]
async fn stale_connection_is_replaced_without_an_error() {
    let (pool, listener, dialled) = listen().await;
    // The first connection takes the second request and closes without a byte: as an engine that closes idle ones.
    let _server = serve(listener, vec![vec![answer("one"), Vec::new()], vec![answer("two")]]);
    assert_eq!(get(&pool).await.unwrap(), "one");
    assert_eq!(get(&pool).await.unwrap(), "two");
    assert_eq!(dialled.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn fresh_connection_that_answers_nothing_is_not_tried_again() {
    let (pool, listener, dialled) = listen().await;
    let _server = serve(listener, vec![vec![Vec::new()], vec![answer("never")]]);
    assert_eq!(get(&pool).await.unwrap_err().code, Code::EngineCut);
    assert_eq!(dialled.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn connection_with_unasked_bytes_is_not_used_again() {
    let (pool, listener, dialled) = listen().await;
    let _server = serve(listener, vec![vec![[answer("one"), b"HTTP/1.1 200".to_vec()].concat()], vec![answer("two")]]);
    assert_eq!(get(&pool).await.unwrap(), "one");
    assert_eq!(get(&pool).await.unwrap(), "two");
    assert_eq!(dialled.load(Ordering::Relaxed), 2);
}

#[tokio::test]
async fn truncated_and_junk_answers_have_codes_of_their_own() {
    let cases: [(&[u8], Code); 7] = [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort", Code::EngineCut),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", Code::EngineCut),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", Code::EngineCut),
        (b"HTTP/1.1 200 OK\r\nContent-Le", Code::EngineCut),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nhello\r\n", Code::EngineFailed),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", Code::EngineFailed),
        (b"SSH-2.0-OpenSSH_9.2\r\n", Code::EngineFailed),
    ];
    for (bytes, code) in cases {
        let (pool, listener, _) = listen().await;
        let _server = serve(listener, vec![vec![bytes.to_vec()]]);
        let fault = get(&pool).await.unwrap_err();
        assert_eq!((fault.code, pool.idle()), (code, 0), "{}", String::from_utf8_lossy(bytes));
    }
}

#[tokio::test]
async fn body_without_framing_ends_with_the_connection() {
    let (pool, listener, _) = listen().await;
    let _server = serve(listener, vec![vec![b"HTTP/1.0 200 OK\r\n\r\nall of it".to_vec()]]);
    assert_eq!(get(&pool).await.unwrap(), "all of it");
    assert_eq!(pool.idle(), 0);
}

#[tokio::test]
async fn endless_line_is_refused_long_before_it_ends() {
    for start in ["HTTP/1.1 200 OK\r\nX: ", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", ""] {
        let (pool, listener, _) = listen().await;
        let mut server = tokio::task::JoinSet::new();
        server.spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            read_request(&mut stream).await.unwrap();
            stream.write_all(start.as_bytes()).await.unwrap();
            let mut sent = 0_u64;
            while sent < 2 << 30 && stream.write_all(&[b'a'; 65536]).await.is_ok() {
                sent += 65536;
            }
            sent
        });
        assert_eq!(get(&pool).await.unwrap_err().code, Code::EngineFailed);
        // What the server got rid of went into socket buffers: the client stopped reading at its limit.
        let sent = server.join_next().await.unwrap().unwrap();
        assert!(sent < 64 << 20, "{sent}");
    }
}

#[tokio::test]
async fn slow_head_runs_into_the_deadline() {
    let (pool, listener, _) = listen().await;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\n").await.unwrap();
        stopped.await.ok();
    });
    let until = Instant::now() + Duration::from_millis(50);
    let fault = pool.send(&Request::post("/x", ""), until).await.unwrap_err();
    assert_eq!((fault.code, pool.waiting()), (Code::DeadlineExceeded, 0));
    stop.send(()).unwrap();
}

#[tokio::test]
async fn dropping_an_answer_closes_the_engines_connection() {
    let (pool, listener, _) = listen().await;
    let mut server = tokio::task::JoinSet::new();
    server.spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        read_request(&mut stream).await.unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n").await.unwrap();
        stream.read(&mut [0; 16]).await
    });
    let mut response = pool.send(&Request::get("/x"), soon()).await.unwrap();
    assert_eq!(next_frame(&mut response.body).await.unwrap().unwrap(), "hi");
    drop(response);
    assert!(matches!(server.join_next().await.unwrap().unwrap(), Ok(0) | Err(_)));
    assert_eq!(pool.idle(), 0);
}

#[tokio::test]
async fn no_more_than_the_bound_of_idle_connections_is_kept() {
    let (pool, listener, _) = listen().await;
    let most = MOST_IDLE + 3;
    let (start, _) = tokio::sync::broadcast::channel::<()>(1);
    let mut server = tokio::task::JoinSet::new();
    let starts = start.clone();
    server.spawn(async move {
        let mut open = tokio::task::JoinSet::new();
        for _ in 0..most {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut start = starts.subscribe();
            open.spawn(async move {
                read_request(&mut stream).await.unwrap();
                start.recv().await.unwrap();
                stream.write_all(&answer("x")).await.unwrap();
                assert!(matches!(stream.read(&mut [0; 1]).await, Ok(0) | Err(_)));
            });
        }
        starts.send(()).unwrap();
        open.join_all().await;
    });
    let gets: Vec<_> = (0..most).map(|_| get(&pool)).collect();
    assert!(futures_util::future::join_all(gets).await.into_iter().all(|got| got.unwrap() == "x"));
    assert_eq!(pool.idle(), MOST_IDLE);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn any_split_on_the_wire_gives_the_same_answer(
        chunks in prop::collection::vec("[a-z\r\n0-9]{1,30}", 1..8),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let framed: String = chunks.iter().map(|chunk| format!("{:x}\r\n{chunk}\r\n", chunk.len())).collect();
        let wire = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{framed}0\r\n\r\n").into_bytes();
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(wire.len())).collect();
        cuts.extend([0, wire.len()]);
        cuts.sort_unstable();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let got = runtime.block_on(async {
            let (pool, listener, _) = listen().await;
            let mut server = tokio::task::JoinSet::new();
            server.spawn(async move {
                let (mut stream, _) = listener.accept().await.unwrap();
                stream.set_nodelay(true).unwrap();
                read_request(&mut stream).await.unwrap();
                for pair in cuts.windows(2) {
                    stream.write_all(&wire[pair[0]..pair[1]]).await.unwrap();
                    tokio::task::yield_now().await;
                }
                stream
            });
            let got = get(&pool).await;
            assert_eq!(pool.idle(), 1);
            got
        });
        prop_assert_eq!(got.unwrap(), chunks.concat());
    }
}
