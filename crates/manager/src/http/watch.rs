//! `GET /watch`: Server-Sent Events (WHATWG HTML, section 9.2) of what happens to the pods.
//!
//! Here: the request, and the stream as a body. What is sent is the business of `crate::watch`.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::extract::{RawQuery, State};
use axum::response::Response;
use bytes::Bytes;
use governance_domain::Revision;
use http::header::{CACHE_CONTROL, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue};
use hyper::body::Frame;

use super::problem::Problem;
use super::query::Query;
use super::{Answer, Shared};
use crate::watch::Stream;

/// What a client sends when it comes back: the last id it has seen.
const LAST_EVENT_ID: HeaderName = HeaderName::from_static("last-event-id");
/// Tells a proxy of nginx's kind to pass events on at once.
const X_ACCEL_BUFFERING: HeaderName = HeaderName::from_static("x-accel-buffering");

pub(super) async fn watch(
    State(state): Shared,
    headers: HeaderMap,
    RawQuery(query): RawQuery,
) -> Answer {
    state.check_readable()?;
    let mut query = Query::new(query.as_deref());
    let service = query.optional("service_name").map(|name| Box::from(&*name));
    query.finish()?;
    let stream = match &state.watch {
        Some(watch) => watch.open(service, last_seen(&headers)).map_err(|_| too_many())?,
        None => return Err(Problem::of_status(http::StatusCode::NOT_FOUND)),
    };
    let mut answer = Response::new(Body::new(Events(stream)));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_ACCEL_BUFFERING, HeaderValue::from_static("no"));
    Ok(answer)
}

/// An id that is none of ours says nothing: such a client gets a snapshot, like a new one.
fn last_seen(headers: &HeaderMap) -> Option<Revision> {
    let text = headers.get(LAST_EVENT_ID)?.to_str().ok()?;
    text.trim().parse().ok().map(Revision::from_u64)
}

fn too_many() -> Problem {
    Problem::unavailable(
        "too_many_watchers",
        30,
        "as many clients watch as this manager serves: try again later, or watch through one of \
         them",
    )
}

/// A stream as a body.
struct Events(Stream);

impl hyper::body::Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0.poll_next(context).map(|text| text.map(|text| Ok(Frame::data(text))))
    }
}
