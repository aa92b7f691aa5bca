//! HTTP to a manager: one connection, one request at a time, kept open between two.
//!
//! No task stands behind the connection: whoever waits for an answer drives it, and dropping it
//! closes it, so that a request that was given up is over on our side before the next begins.

use std::future::{Future, poll_fn};
use std::net::IpAddr;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use futures_util::future::{Either, Fuse, FusedFuture as _, select};
use http::{HeaderValue, Method, Request, Response, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::credentials::Credentials;
use super::line::Line;
use super::obstacle::{Obstacle, ObstacleKind};
use super::outcome::Answer;
use super::url::ManagerUrl;

/// The largest body of an answer.
const ANSWER_MAX: usize = 64 * 1024 * 1024;
/// Lines of an answer's head.
const HEADERS_MAX: usize = 64;
/// How long a connection may take to open; less if a whole request may not take that long.
const CONNECT_PATIENCE: Duration = Duration::from_secs(3);
const USER_AGENT: &str = concat!("governance-client/", env!("CARGO_PKG_VERSION"));

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The request did not leave.
    NotSent(Obstacle),
    /// It may have arrived.
    NoAnswer(Obstacle),
}

/// What is asked for.
#[derive(Clone, Debug)]
pub(crate) struct Question {
    pub(crate) method: Method,
    /// Below the manager's URL.
    pub(crate) target: String,
    pub(crate) body: Option<Bytes>,
}

/// The way to the managers.
#[derive(Debug)]
pub(crate) struct Wire {
    /// How long a request may take, connecting included.
    patience: Duration,
    credentials: Credentials,
    idle: Option<Connection>,
}

impl Wire {
    pub(crate) fn new(patience: Duration, credentials: Credentials) -> Self {
        Self { patience, credentials, idle: None }
    }

    /// Connects if need be; the own address towards that manager.
    pub(crate) async fn reach(&mut self, url: &ManagerUrl) -> Result<IpAddr, Failure> {
        let connection = match self.reusable(url).await {
            Some(connection) => connection,
            None => self.connect(url).await?,
        };
        let local = connection.local;
        self.idle = Some(connection);
        Ok(local)
    }

    /// Asks. A kept connection that turns out to be closed is replaced once.
    pub(crate) async fn ask(
        &mut self,
        url: &ManagerUrl,
        question: &Question,
    ) -> Result<Answer, Failure> {
        let silent = || {
            let seconds = self.patience.as_secs_f64();
            let text = format!("the manager at {url} does not answer within {seconds} s");
            Failure::NoAnswer(Obstacle::other(text))
        };
        let late = silent();
        timeout(self.patience, self.ask_patiently(url, question)).await.unwrap_or(Err(late))
    }

    async fn ask_patiently(
        &mut self,
        url: &ManagerUrl,
        question: &Question,
    ) -> Result<Answer, Failure> {
        if let Some(connection) = self.reusable(url).await
            && let Ok(answer) = self.exchange(connection, question).await
        {
            return Ok(answer);
        }
        let connection = self.connect(url).await?;
        let exchanged = self.exchange(connection, question).await;
        exchanged.map_err(|fault| Failure::unanswered(url, fault))
    }

    async fn exchange(
        &mut self,
        mut connection: Connection,
        question: &Question,
    ) -> Result<Answer, Obstacle> {
        let answer = connection.exchange(question).await?;
        self.idle = Some(connection);
        Ok(answer)
    }

    async fn reusable(&mut self, url: &ManagerUrl) -> Option<Connection> {
        let mut connection = self.idle.take()?;
        (connection.url == *url && connection.is_open().await).then_some(connection)
    }

    async fn connect(&self, url: &ManagerUrl) -> Result<Connection, Failure> {
        let patience = CONNECT_PATIENCE.min(self.patience);
        Connection::open_within(patience, url, &self.credentials).await
    }

    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    pub(super) fn credentials(&self) -> &Credentials {
        &self.credentials
    }
}

impl Failure {
    /// On a connection that was open.
    pub(super) fn unanswered(url: &ManagerUrl, obstacle: Obstacle) -> Self {
        let mut told = obstacle.told(|text| format!("the manager at {url}: {text}"));
        if url.is_tls() && told.kind() == ObstacleKind::NotHttp {
            // That it may speak TLS is no news.
            told = Obstacle::other(told.to_string());
        }
        // Nothing of a request is read before TLS is agreed on.
        let is_refused = matches!(
            told.kind(),
            ObstacleKind::CertificateDemanded | ObstacleKind::CertificateRefused
        );
        if is_refused { Self::NotSent(told) } else { Self::NoAnswer(told) }
    }
}

pub(super) struct Connection {
    url: ManagerUrl,
    local: IpAddr,
    sender: http1::SendRequest<Full<Bytes>>,
    driver: Driver,
    authorization: Option<HeaderValue>,
}

/// Moves the bytes; fused, because it may end long before it is asked again.
pub(super) type Driver = Fuse<http1::Connection<TokioIo<Line>, Full<Bytes>>>;

impl std::fmt::Debug for Connection {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Connection").field("url", &self.url).finish_non_exhaustive()
    }
}

impl Connection {
    /// Connects, and agrees on TLS if the URL asks for it.
    pub(super) async fn open_within(
        patience: Duration,
        url: &ManagerUrl,
        credentials: &Credentials,
    ) -> Result<Self, Failure> {
        let opened = timeout(patience, Self::open(url, credentials)).await;
        let opened =
            opened.unwrap_or_else(|_| Err(Obstacle::other("it does not accept the connection")));
        let told = |text: &str| format!("no connection to the manager at {url}: {text}");
        opened.map_err(|fault| Failure::NotSent(fault.told(told)))
    }

    async fn open(url: &ManagerUrl, credentials: &Credentials) -> Result<Self, Obstacle> {
        let lost = |fault: std::io::Error| Obstacle::other(fault.to_string());
        let stream = TcpStream::connect((url.host(), url.port())).await.map_err(lost)?;
        // A request is one small write; waiting to join it with another gains nothing.
        stream.set_nodelay(true).map_err(lost)?;
        let local = stream.local_addr().map_err(lost)?.ip().to_canonical();
        let stream = credentials.secure(url, stream).await?;
        let mut builder = http1::Builder::new();
        builder.max_headers(HEADERS_MAX);
        let opened = builder.handshake(TokioIo::new(stream)).await;
        let (sender, driver) = opened.map_err(|fault| Obstacle::of_http(&fault))?;
        let authorization = credentials.authorization().cloned();
        Ok(Self { url: url.clone(), local, sender, driver: driver.fuse(), authorization })
    }

    /// Whether the other side left it open, as far as can be known without asking.
    async fn is_open(&mut self) -> bool {
        if self.driver.is_terminated() {
            return false;
        }
        let driver = &mut self.driver;
        let is_closed = poll_fn(|context| Poll::Ready(driver.poll_unpin(context).is_ready())).await;
        !is_closed && self.sender.is_ready()
    }

    async fn exchange(&mut self, question: &Question) -> Result<Answer, Obstacle> {
        let request = self.request(question);
        let request = request.map_err(|fault| Obstacle::other(fault.to_string()))?;
        let (head, body) = self.send(request).await?.into_parts();
        let seconds = head.headers.get(header::RETRY_AFTER).and_then(|text| text.to_str().ok());
        let seconds = seconds.and_then(|text| text.trim().parse().ok());
        let body = driven(Limited::new(body, ANSWER_MAX).collect(), &mut self.driver).await;
        let body = body.map_err(|fault| Obstacle::other(fault.to_string()))?.to_bytes();
        // It may be closed by now, which is known before the next request.
        let _ = driven(self.sender.ready(), &mut self.driver).await;
        Ok(Answer { status: head.status, retry_after: seconds.map(Duration::from_secs), body })
    }

    /// Sends a request; the answer's body is still to come.
    pub(super) async fn send(
        &mut self,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Obstacle> {
        let sent = self.sender.send_request(request);
        driven(sent, &mut self.driver).await.map_err(|fault| Obstacle::of_http(&fault))
    }

    pub(super) fn driver_mut(&mut self) -> &mut Driver {
        &mut self.driver
    }

    pub(super) fn url(&self) -> &ManagerUrl {
        &self.url
    }

    pub(super) fn request(&self, question: &Question) -> Result<Request<Full<Bytes>>, http::Error> {
        let mut request = Request::builder()
            .method(&question.method)
            .uri(self.url.target(&question.target))
            .header(header::HOST, self.url.authority())
            .header(header::USER_AGENT, USER_AGENT)
            .header(header::ACCEPT, "application/json");
        if question.body.is_some() {
            request = request.header(header::CONTENT_TYPE, "application/json");
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        request.body(Full::new(question.body.clone().unwrap_or_default()))
    }
}

/// Waits for what needs the connection to move.
pub(super) async fn driven<F: Future>(wanted: F, driver: &mut Driver) -> F::Output {
    match select(pin!(wanted), driver).await {
        Either::Left((output, _)) => output,
        // The connection ended; what is wanted may have come before that.
        Either::Right((_, wanted)) => wanted.await,
    }
}
