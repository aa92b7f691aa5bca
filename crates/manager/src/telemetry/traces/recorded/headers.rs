//! Traces across processes: `traceparent` and `tracestate` (W3C Trace Context), read and written by
//! OpenTelemetry's propagator. What comes in is bounded before it is read, because `tracestate`
//! goes out again to every subscriber.

use http::{HeaderMap, HeaderName, HeaderValue};
use opentelemetry::Context;
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanContext, TraceContextExt as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;

/// The longest header that is read: no longer one need be passed on (section 3.3.1.5).
const VALUE_BYTES_MAX: usize = 512;

/// The caller's place, if the headers name exactly one.
pub(super) fn read(headers: &HeaderMap) -> Option<SpanContext> {
    headers.get("traceparent")?;
    let context =
        TraceContextPropagator::new().extract_with_context(&Context::new(), &Sent(headers));
    let place = context.span().span_context().clone();
    place.is_valid().then_some(place)
}

/// Names a place to whoever gets the headers.
pub(super) fn write(place: &SpanContext, headers: &mut HeaderMap) {
    let context = Context::new().with_remote_span_context(place.clone());
    TraceContextPropagator::new().inject_context(&context, &mut Written(headers));
}

/// Headers that somebody sent.
struct Sent<'a>(&'a HeaderMap);

impl Extractor for Sent<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        let mut values = self.0.get_all(key).iter();
        let value = values.next().filter(|value| value.len() <= VALUE_BYTES_MAX)?;
        // Several are one list, but of `traceparent` there is only one (section 3.2).
        if values.next().is_some() {
            return None;
        }
        value.to_str().ok()
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(HeaderName::as_str).collect()
    }
}

/// Headers that are sent.
struct Written<'a>(&'a mut HeaderMap);

impl Injector for Written<'_> {
    fn set(&mut self, key: &str, value: String) {
        let name = HeaderName::from_bytes(key.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_str(&value))
            && !value.is_empty()
        {
            self.0.insert(name, value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    fn sent(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in pairs {
            headers.append(*name, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        headers
    }

    #[test]
    fn what_one_sent_is_read_and_written_again() {
        let place = read(&sent(&[("traceparent", PARENT), ("tracestate", "a=1,b=2")])).unwrap();
        assert!(place.is_sampled() && place.is_remote());
        let mut headers = HeaderMap::new();
        write(&place, &mut headers);
        assert_eq!(headers["traceparent"], PARENT);
        assert_eq!(headers["tracestate"], "a=1,b=2");
        let unsampled = PARENT.replace("-01", "-00");
        assert!(!read(&sent(&[("traceparent", &unsampled)])).unwrap().is_sampled());
    }

    #[test]
    fn what_names_no_place_is_none() {
        let other = PARENT.replace("0af7", "1111");
        for headers in [
            vec![],
            vec![("traceparent", "")],
            vec![("traceparent", "nonsense")],
            vec![("traceparent", "\u{e9}")],
            vec![("traceparent", PARENT), ("traceparent", other.as_str())],
            vec![("traceparent", "00-00000000000000000000000000000000-b7ad6b7169203331-01")],
            vec![("traceparent", "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01")],
            vec![("traceparent", "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")],
            vec![("tracestate", "a=1")],
        ] {
            assert_eq!(read(&sent(&headers)), None, "{headers:?}");
        }
    }

    #[test]
    fn a_state_that_is_too_long_is_not_passed_on() {
        let long = format!("a={}", "x".repeat(VALUE_BYTES_MAX));
        let place = read(&sent(&[("traceparent", PARENT), ("tracestate", &long)])).unwrap();
        let mut headers = HeaderMap::new();
        write(&place, &mut headers);
        assert_eq!(headers.get("tracestate"), None);
        assert_eq!(headers["traceparent"], PARENT);
    }
}
