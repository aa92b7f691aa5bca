//! A collector of traces on loopback: takes exports of the real program, or treats them as badly as
//! a test says, and writes down what it took.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use governance_testkit::manager::PATIENCE;
use governance_testkit::wait::until;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;

/// What it does with an export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Conduct {
    /// Takes it.
    Take,
    /// Answers this.
    Answer(u16),
    /// Never answers.
    Hang,
}

/// A span as it was taken.
#[derive(Clone, Debug)]
pub(crate) struct Taken {
    pub(crate) span: Span,
    /// `service.name` of who sent it.
    pub(crate) service: String,
}

impl Taken {
    pub(crate) fn trace(&self) -> String {
        hex(&self.span.trace_id)
    }

    pub(crate) fn id(&self) -> String {
        hex(&self.span.span_id)
    }

    pub(crate) fn parent(&self) -> String {
        hex(&self.span.parent_span_id)
    }

    pub(crate) fn name(&self) -> &str {
        &self.span.name
    }

    /// An attribute as text; empty if there is none.
    pub(crate) fn says(&self, key: &str) -> String {
        text_of(&self.span.attributes, key)
    }

    /// The header that names this span to others.
    pub(crate) fn traceparent(&self) -> String {
        format!("00-{}-{}-01", self.trace(), self.id())
    }
}

#[derive(Debug, Default)]
struct Book {
    taken: Mutex<Vec<Taken>>,
    heads: Mutex<Vec<String>>,
    exports: AtomicUsize,
}

/// The collector; it listens as long as the test runs.
#[derive(Debug)]
pub(crate) struct Collector {
    pub(crate) address: SocketAddr,
    book: Arc<Book>,
    conduct: Arc<Mutex<Conduct>>,
}

impl Collector {
    /// One that takes everything.
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let address = listener.local_addr().unwrap();
        let book = Arc::new(Book::default());
        let conduct = Arc::new(Mutex::new(Conduct::Take));
        let (shared, shared_conduct) = (Arc::clone(&book), Arc::clone(&conduct));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (book, conduct) = (Arc::clone(&shared), Arc::clone(&shared_conduct));
                std::thread::spawn(move || serve(stream, &book, &conduct));
            }
        });
        Self { address, book, conduct }
    }

    /// Its base URL.
    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn behave(&self, conduct: Conduct) {
        *lock(&self.conduct) = conduct;
    }

    /// How many exports came, whatever was done with them.
    pub(crate) fn exports(&self) -> usize {
        self.book.exports.load(Ordering::SeqCst)
    }

    /// The head of the last export.
    pub(crate) fn last_head(&self) -> String {
        lock(&self.book.heads).last().cloned().unwrap_or_default()
    }

    /// All that was taken.
    pub(crate) fn taken(&self) -> Vec<Taken> {
        lock(&self.book.taken).clone()
    }

    /// All of one trace.
    pub(crate) fn trace(&self, id: &str) -> Vec<Taken> {
        self.taken().into_iter().filter(|taken| taken.trace() == id).collect()
    }

    /// The first span that fits, once it is there.
    #[track_caller]
    pub(crate) fn await_any(&self, fits: impl Fn(&Taken) -> bool) -> Taken {
        let found = || self.taken().into_iter().find(|taken| fits(taken));
        assert!(until(PATIENCE, || found().is_some()), "{:#?}", self.taken());
        found().unwrap()
    }

    /// The one span that fits, once it is there.
    #[track_caller]
    pub(crate) fn await_span(&self, what: &str, fits: impl Fn(&Taken) -> bool) -> Taken {
        let found = || self.taken().into_iter().filter(|taken| fits(taken)).collect::<Vec<_>>();
        assert!(until(PATIENCE, || !found().is_empty()), "no {what} in {:#?}", self.taken());
        let mut found = found();
        assert_eq!(found.len(), 1, "more than one {what}: {found:#?}");
        found.remove(0)
    }
}

fn serve(mut stream: TcpStream, book: &Book, conduct: &Mutex<Conduct>) -> Option<()> {
    let (head, body) = receive(&mut stream)?;
    book.exports.fetch_add(1, Ordering::SeqCst);
    let conduct = *lock(conduct);
    let status = match conduct {
        Conduct::Take => {
            let export = ExportTraceServiceRequest::decode(body.as_slice()).ok()?;
            lock(&book.taken).extend(spans_of(export));
            200
        }
        Conduct::Answer(status) => status,
        Conduct::Hang => {
            // Until the other side gives up.
            let _ = stream.read(&mut [0]);
            return None;
        }
    };
    lock(&book.heads).push(head);
    let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
    stream.write_all(answer.as_bytes()).ok()
}

/// One request, whole.
fn receive(stream: &mut TcpStream) -> Option<(String, Vec<u8>)> {
    let (mut bytes, mut piece) = (Vec::new(), [0; 16 * 1024]);
    loop {
        if let Some(end) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
            let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length?.parse().ok()?;
            if bytes.len() >= end + 4 + length {
                return Some((head, bytes.split_off(end + 4)));
            }
        }
        let count = stream.read(&mut piece).ok().filter(|count| *count > 0)?;
        bytes.extend(&piece[..count]);
    }
}

fn spans_of(export: ExportTraceServiceRequest) -> Vec<Taken> {
    let of_resources = export.resource_spans.into_iter().flat_map(|of_resource| {
        let attributes = of_resource.resource.unwrap_or_default().attributes;
        let service = text_of(&attributes, "service.name");
        let spans = of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        spans.map(move |span| Taken { span, service: service.clone() })
    });
    of_resources.collect()
}

fn text_of(attributes: &[KeyValue], key: &str) -> String {
    let found = attributes.iter().find(|attribute| attribute.key == key);
    match found.and_then(|found| found.value.clone()) {
        Some(AnyValue { value: Some(Value::StringValue(text)) }) => text,
        Some(AnyValue { value: Some(Value::IntValue(number)) }) => number.to_string(),
        _ => String::new(),
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}
