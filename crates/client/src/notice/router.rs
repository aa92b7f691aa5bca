//! The three paths as an axum router, to be merged into a service's own.

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::any;
use http::{Method, header};

use super::receiver::Receiver;

impl Receiver {
    /// A router with the three paths, for an application that runs axum anyway.
    ///
    /// ```no_run
    /// # fn f(member: &governance_client::Member) -> axum::Router {
    /// axum::Router::new()
    ///     .route("/", axum::routing::get(|| async { "my service" }))
    ///     .merge(member.receiver().router())
    /// # }
    /// ```
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        let paths = self.paths();
        let mut router = Router::new();
        for path in [&paths.notify, &paths.health, &paths.subscribed_services] {
            let receiver = self.clone();
            let serve = move |request| serve(receiver.clone(), request);
            router = router.route(path, any(serve));
        }
        router
    }
}

async fn serve(receiver: Receiver, request: Request) -> Response {
    let (head, body) = request.into_parts();
    let reply = match axum::body::to_bytes(body, receiver.body_max()).await {
        Ok(body) => receiver.answer(&head.method, head.uri.path(), &body),
        Err(_) => receiver.too_large(),
    };
    let is_head = head.method == Method::HEAD;
    let body = if is_head { Body::empty() } else { Body::from(reply.body) };
    let mut response = Response::new(body);
    *response.status_mut() = reply.status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    if let Some(allow) = reply.allow {
        headers.insert(header::ALLOW, header::HeaderValue::from_static(allow));
    }
    response
}
