//! Whether requests are followed with OpenTelemetry, and where what is recorded goes. The names are
//! those that OpenTelemetry's specification gives its environment variables.
//!
//! A program built without the feature `traces` judges none of them: platforms set them for every
//! program alike, and one that has no use for them must start all the same. It warns if the
//! operator expects traces.

use std::path::PathBuf;

use governance_domain::target::{Purpose, Target};
use percent_encoding::percent_decode_str;

use super::database::Secret;
use super::rule::{Choice, PATH, Reason, Text, plain};
use super::setting::{Described, Setting};
use super::source::Reader;

/// The most pairs that a list may hold.
const PAIRS_MAX: usize = 64;
/// The longest list.
const LIST_BYTES_MAX: usize = 8 * 1024;
/// The longest name of the service.
const NAME_BYTES_MAX: usize = 255;
/// Where a collector takes traces, below its base URL (OTLP specification 1.x, OTLP/HTTP request).
const TRACES_PATH: &str = "/v1/traces";

/// Where traces go, and which.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Traces {
    /// The URL that takes them; known to be a valid target.
    pub url: String,
    /// Headers of each export; names and values are known to be valid.
    pub headers: Vec<(String, Secret)>,
    /// A PEM file with further CAs for https.
    pub ca_file: Option<PathBuf>,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// Of how many, where the sampler asks for that.
    pub ratio: Ratio,
    /// The resource's `service.name`.
    pub service_name: String,
    /// Further attributes of the resource.
    pub attributes: Vec<(String, String)>,
}

/// The value of `OTEL_TRACES_SAMPLER`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sampler {
    /// Every trace.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// A share of all traces.
    Ratio,
    /// As the caller decided; every trace that begins here.
    ParentAlwaysOn,
    /// As the caller decided; none that begins here.
    ParentAlwaysOff,
    /// As the caller decided; a share of those that begin here.
    ParentRatio,
}

/// A share of all traces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio {
    /// 0 to 1,000,000.
    pub millionths: u32,
}

impl Ratio {
    /// 0 to 1.
    pub fn as_fraction(self) -> f64 {
        f64::from(self.millionths) / 1e6
    }
}

const URL: Text<String> = Text {
    allowed: "an http or https URL of at most 512 characters, such as http://localhost:4318",
    parse: |text| Target::parse(text, Purpose::Notification).map(|_| text.to_owned()).map_err(Some),
    show: String::clone,
};

static ENDPOINT: Setting<Text<String>> = Setting::new(
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "",
    "Base URL of an OpenTelemetry collector that takes OTLP over HTTP; traces go to `/v1/traces` \
     below it; unset: nothing is recorded",
    URL,
);

static TRACES_ENDPOINT: Setting<Text<String>> = Setting::new(
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "",
    "The whole URL that takes traces, instead of a base URL",
    URL,
);

static PROTOCOL: Setting<Choice<()>> = Setting::new(
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "http/protobuf",
    "How the collector is spoken to; there is no gRPC here: collectors listen for OTLP over HTTP \
     on port 4318",
    Choice { words: &[("http/protobuf", ())], aliases: &[] },
);

static HEADERS: Setting<Text<Vec<(String, Secret)>>> = Setting::new(
    "OTEL_EXPORTER_OTLP_HEADERS",
    "",
    "Headers of each export, such as a key: `name=value,name=value`, values percent-encoded",
    Text {
        allowed: "a list such as x-key=value with names and values that HTTP allows",
        parse: parse_headers,
        show: |_| "(hidden)".to_owned(),
    },
)
.secret();

static CERTIFICATE: Setting<Text<PathBuf>> = Setting::new(
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "",
    "PEM file with CAs that the collector's certificate may come from, besides the system's",
    PATH,
);

static SAMPLER: Setting<Choice<Sampler>> = Setting::new(
    "OTEL_TRACES_SAMPLER",
    "parentbased_always_on",
    "Which traces are recorded; `parentbased_` has callers that send `traceparent` decide for theirs",
    Choice {
        words: &[
            ("always_on", Sampler::AlwaysOn),
            ("always_off", Sampler::AlwaysOff),
            ("traceidratio", Sampler::Ratio),
            ("parentbased_always_on", Sampler::ParentAlwaysOn),
            ("parentbased_always_off", Sampler::ParentAlwaysOff),
            ("parentbased_traceidratio", Sampler::ParentRatio),
        ],
        aliases: &[],
    },
);

static SAMPLER_ARG: Setting<Text<Ratio>> = Setting::new(
    "OTEL_TRACES_SAMPLER_ARG",
    "1",
    "Which share of the traces the samplers that end in `traceidratio` record",
    Text {
        allowed: "a number from 0 to 1, such as 0.01",
        parse: parse_ratio,
        show: |ratio| ratio.as_fraction().to_string(),
    },
);

static SERVICE_NAME: Setting<Text<String>> = Setting::new(
    "OTEL_SERVICE_NAME",
    "governance-manager",
    "Under which name traces show this program",
    Text {
        allowed: "a text of at most 255 bytes",
        parse: |text| plain(text, NAME_BYTES_MAX),
        show: String::clone,
    },
);

static RESOURCE_ATTRIBUTES: Setting<Text<Vec<(String, String)>>> = Setting::new(
    "OTEL_RESOURCE_ATTRIBUTES",
    "",
    "What else traces say of this program: `key=value,key=value`, values percent-encoded",
    Text {
        allowed: "a list such as deployment.environment.name=lab,k8s.pod.name=manager-0",
        parse: parse_pairs,
        show: |pairs| {
            let pairs: Vec<_> = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect();
            pairs.join(",")
        },
    },
);

static SDK_DISABLED: Setting<Choice<bool>> = Setting::new(
    "OTEL_SDK_DISABLED",
    "false",
    "Switches traces off, whatever the others say",
    Choice { words: &[("false", false), ("true", true)], aliases: &[] },
);

pub(super) static SETTINGS: &[&dyn Described] = &[
    &ENDPOINT,
    &TRACES_ENDPOINT,
    &PROTOCOL,
    &HEADERS,
    &CERTIFICATE,
    &SAMPLER,
    &SAMPLER_ARG,
    &SERVICE_NAME,
    &RESOURCE_ATTRIBUTES,
    &SDK_DISABLED,
];

impl Traces {
    /// Where traces go; none if they are off.
    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        if cfg!(feature = "traces") {
            return Self::read_each(reader);
        }
        for setting in SETTINGS {
            reader.pass_over(setting.card());
        }
        for card in [&ENDPOINT.card, &TRACES_ENDPOINT.card] {
            if let Some(origin) = reader.origin(card) {
                reader.warnings.push(format!(
                    "{} ({origin}) has no effect: this program was built without traces; \
                     `cargo build --release --features traces` builds one that has them",
                    card.name
                ));
            }
        }
        None
    }

    fn read_each(reader: &mut Reader<'_>) -> Option<Self> {
        let base = reader.read_optional(&ENDPOINT);
        let whole = reader.read_optional(&TRACES_ENDPOINT);
        reader.read(&PROTOCOL);
        let headers = reader.read_optional(&HEADERS).unwrap_or_default();
        let ca_file = reader.read_optional(&CERTIFICATE);
        if let Some(path) = &ca_file {
            reader.require_authorities(&CERTIFICATE.card, path);
        }
        let (sampler, ratio) = (reader.read(&SAMPLER), reader.read(&SAMPLER_ARG));
        let service_name = reader.read(&SERVICE_NAME);
        let attributes = reader.read_optional(&RESOURCE_ATTRIBUTES).unwrap_or_default();
        let is_disabled = reader.read(&SDK_DISABLED);
        let below: Option<String> =
            base.map(|base| format!("{}{TRACES_PATH}", base.trim_end_matches('/')));
        if let Some(Err(why)) = below.as_ref().map(|url| Target::parse(url, Purpose::Notification))
        {
            reader.refuse(&ENDPOINT.card, format!("with {TRACES_PATH} behind it, it {why}"));
        }
        let url = whole.or(below).filter(|_| !is_disabled)?;
        Some(Self { url, headers, ca_file, sampler, ratio, service_name, attributes })
    }
}

fn parse_ratio(text: &str) -> Result<Ratio, Reason> {
    let fraction: f64 = text.parse().map_err(|_| None)?;
    if !(0.0..=1.0).contains(&fraction) {
        return Err(None);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and a million"
    )]
    Ok(Ratio { millionths: (fraction * 1e6).round() as u32 })
}

/// Pairs in the syntax of W3C baggage, as far as OpenTelemetry uses it.
fn parse_pairs(text: &str) -> Result<Vec<(String, String)>, Reason> {
    let text = plain(text, LIST_BYTES_MAX)?;
    let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
    let pairs: Result<Vec<_>, Reason> = items.map(parse_pair).collect();
    match pairs {
        Ok(pairs) if pairs.len() > PAIRS_MAX => {
            Err(Some(format!("it holds more than {PAIRS_MAX} pairs")))
        }
        pairs => pairs,
    }
}

fn parse_pair(item: &str) -> Result<(String, String), Reason> {
    let (key, value) = item.split_once('=').ok_or_else(|| Some("a pair lacks its =".to_owned()))?;
    let value = percent_decode_str(value.trim()).decode_utf8();
    let value = value.map_err(|_| Some("a value is not UTF-8 text".to_owned()))?;
    let key = key.trim();
    if key.is_empty() || value.chars().any(char::is_control) {
        return Err(Some("a pair lacks its key, or a value holds a control character".to_owned()));
    }
    Ok((key.to_owned(), value.into_owned()))
}

/// The text of a value is in no message: it may be a key.
fn parse_headers(text: &str) -> Result<Vec<(String, Secret)>, Reason> {
    let judge = |(name, value): (String, String)| {
        let is_name = http::HeaderName::from_bytes(name.as_bytes()).is_ok();
        let is_value = http::HeaderValue::from_str(&value).is_ok();
        (is_name && is_value).then(|| (name, Secret::new(value))).ok_or(None)
    };
    parse_pairs(text)?.into_iter().map(judge).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_between_nothing_and_all() {
        assert_eq!(parse_ratio("0.25"), Ok(Ratio { millionths: 250_000 }));
        assert_eq!(parse_ratio("1.0"), Ok(Ratio { millionths: 1_000_000 }));
        for wrong in ["-0.1", "1.1", "NaN", "inf", "10%", "a"] {
            assert_eq!(parse_ratio(wrong), Err(None), "{wrong}");
        }
    }

    #[test]
    fn lists_of_pairs_are_decoded_and_bounded() {
        let pairs = parse_pairs("a=1, b.c=x%20y%2C ,").unwrap();
        let expected = [("a", "1"), ("b.c", "x y,")];
        assert_eq!(pairs, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        let many = "a=1,".repeat(PAIRS_MAX + 1);
        for wrong in ["a", "=1", "a=%0a", "a=%ff", many.as_str(), &"a=x".repeat(4_000)] {
            assert!(parse_pairs(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn headers_are_what_http_allows_and_never_shown() {
        let headers = parse_headers("x-key=a%3Db,Authorization=Bearer%20x").unwrap();
        let found: Vec<_> = headers.iter().map(|(name, value)| (&**name, value.expose())).collect();
        assert_eq!(found, [("x-key", "a=b"), ("Authorization", "Bearer x")]);
        assert!(!format!("{headers:?}").contains("Bearer"));
        for wrong in ["x key=1", "x=%00", "é=1"] {
            assert!(parse_headers(wrong).is_err(), "{wrong}");
        }
    }
}
