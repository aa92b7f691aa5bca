//! A small server of its own: HTTP/1, so many connections at once, a time for everything.
//!
//! Bounds, and what happens there: with [`CONNECTIONS_MAX`] open, new ones wait in the system's
//! queue; a head that does not come, and a connection that idles, are closed after
//! [`HEAD_PATIENCE`]; a body that does not come, or is too large, is answered and closed.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout, timeout_at};

use super::receiver::{Receiver, Reply};
use crate::deadline::Deadline;
use crate::error::Error;

/// Connections at once: a manager's checks and notifications are two.
const CONNECTIONS_MAX: usize = 256;
/// How long the head of a request may take, the wait for it included.
const HEAD_PATIENCE: Duration = Duration::from_secs(10);
/// How long a body may take.
const BODY_PATIENCE: Duration = Duration::from_secs(10);
/// The largest head.
const HEAD_MAX: usize = 16 * 1024;
/// How long nothing is accepted after the system refused a connection.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Takes the address, so that a port in use is known before anybody is told of it.
pub(crate) async fn bind(address: &str) -> Result<TcpListener, Error> {
    let refused = |fault: io::Error| Error::Listen { address: address.to_owned(), fault };
    let found = tokio::net::lookup_host(address).await.map_err(refused)?;
    let mut last = io::Error::new(io::ErrorKind::NotFound, "it names no address");
    for candidate in found {
        match TcpListener::bind(candidate).await {
            Ok(listener) => return Ok(listener),
            Err(fault) if fault.kind() == io::ErrorKind::AddrInUse => {
                return Err(Error::PortInUse { address: candidate });
            }
            Err(fault) => last = fault,
        }
    }
    Err(refused(last))
}

/// Any free port, on IPv6 and IPv4 where the system has both.
pub(crate) async fn bind_anywhere() -> Result<TcpListener, Error> {
    match bind("[::]:0").await {
        Ok(listener) => Ok(listener),
        Err(_) => bind("0.0.0.0:0").await,
    }
}

/// Serves until it is told until when to be done; then finishes what is under way.
pub(crate) async fn serve(listener: TcpListener, receiver: Receiver, mut stop: Deadline) {
    let mut connections = JoinSet::new();
    let closing = stop.clone();
    let until = loop {
        tokio::select! {
            until = stop.told() => break until,
            Some(_) = connections.join_next() => {}
            accepted = listener.accept(), if connections.len() < CONNECTIONS_MAX => {
                admit(accepted, &mut connections, &receiver, &closing).await;
            }
        }
    };
    drop(listener);
    let ended = async { while connections.join_next().await.is_some() {} };
    if timeout_at(until, ended).await.is_err() {
        tracing::warn!("requests were still under way at the end and are broken off");
    }
}

async fn admit(
    accepted: io::Result<(TcpStream, SocketAddr)>,
    connections: &mut JoinSet<()>,
    receiver: &Receiver,
    stop: &Deadline,
) {
    match accepted {
        Ok((stream, _)) => {
            connections.spawn(converse(stream, receiver.clone(), stop.clone()));
        }
        Err(fault) => {
            tracing::warn!(%fault, "a connection cannot be accepted");
            sleep(ACCEPT_PAUSE).await;
        }
    }
}

async fn converse(stream: TcpStream, receiver: Receiver, mut stop: Deadline) {
    let service = service_fn(|request| answer(&receiver, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_PATIENCE)
        .max_buf_size(HEAD_MAX)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let ended = tokio::select! {
        ended = &mut connection => ended,
        _ = stop.told() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(fault) = ended {
        tracing::debug!(%fault, "a connection ended badly");
    }
}

async fn answer(
    receiver: &Receiver,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let max = receiver.body_max();
    let body = timeout(BODY_PATIENCE, Limited::new(body, max).collect()).await;
    let (reply, is_whole) = match body {
        Ok(Ok(body)) => (receiver.answer(&head.method, head.uri.path(), &body.to_bytes()), true),
        Ok(Err(fault)) if fault.is::<LengthLimitError>() => (receiver.too_large(), false),
        Ok(Err(_)) | Err(_) => (Reply::unfinished(), false),
    };
    let is_head = head.method == Method::HEAD;
    let mut response = Response::new(Full::new(if is_head { Bytes::new() } else { reply.body }));
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if let Some(allow) = reply.allow {
        headers.insert(header::ALLOW, header::HeaderValue::from_static(allow));
    }
    if !is_whole {
        headers.insert(header::CONNECTION, header::HeaderValue::from_static("close"));
    }
    Ok(response)
}
