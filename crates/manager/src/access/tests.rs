//! Lines, tokens and certificates, without HTTP.

use std::path::Path;
use std::sync::Arc;

use governance_domain::Timestamp;
use governance_testkit::certificates::{ServerCertificate, TestCa};
use tempfile::TempDir;

use super::grant::matches;
use super::grants::Grants;
use super::{Access, Caller, Denial, Presented, Right, hashed_line};
use crate::clock::{Clock, SystemClock};
use crate::config::{Access as Settings, TlsFiles};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const OTHER: &str = "fedcba9876543210fedcba9876543210";
/// 2026-01-02T03:04:05Z.
const NOW: Timestamp = Timestamp::from_micros(1_767_323_045_000_000);

fn line(beginning: &str, token: &str) -> String {
    hashed_line(beginning, token.as_bytes()).unwrap()
}

fn grants(lines: &[String]) -> Grants {
    Grants::parse(&lines.join("\n")).unwrap()
}

fn name_and_right(caller: Result<Caller, Denial>) -> Result<(String, Right), Denial> {
    caller.map(|caller| (caller.name.to_string(), caller.right))
}

#[test]
fn a_line_holds_the_hash_that_other_programs_compute_and_never_the_token() {
    // printf %s 0123456789abcdef0123456789abcdef | sha256sum
    let made = line("eir write services=eir", &format!("{TOKEN}\n"));
    let hash = "3eb1bd439947eb762998e566ccc2e099c791118b2f40579cc4f7da2b5061b7f9";
    assert_eq!(made, format!("eir write services=eir sha256:{hash}"));
    assert!(!made.contains(TOKEN), "{made}");
    for (beginning, token, why) in [
        ("eir write", "short", "at least 20 characters"),
        ("eir write", "with blanks in the middle of it", "one word"),
        ("eir wrote", TOKEN, "\"wrote\" is not a right"),
        ("eir", TOKEN, "is not a right"),
        ("e*r write", TOKEN, "is not a name"),
        ("eir write certificate", TOKEN, "something follows"),
        ("eir write # remark", TOKEN, ""),
        ("a write\nb write", TOKEN, ""),
    ] {
        let fault = hashed_line(beginning, token.as_bytes()).unwrap_err();
        assert!(fault.contains(why), "{beginning}: {fault}");
        assert!(!fault.contains(TOKEN), "{fault}");
    }
}

#[test]
fn all_faults_of_a_file_are_named_with_their_lines_and_no_word_that_may_be_a_token() {
    let text = format!(
        "# names\n\na write {TOKEN}\nb see sha256:00\nc write expires=soon {}\nd write \
         services=e/r certificate\ne write\n{}\nf read\n",
        line("x read", TOKEN).replace("x read ", ""),
        line("g admin", OTHER),
    );
    let fault = Grants::parse(&text).unwrap_err();
    for part in [
        "line 3: there is a word that is none of",
        "line 4: \"see\" is not a right",
        "line 5: \"soon\" is not a time",
        "line 6: \"e/r\" in services=",
        "line 7: it does not end with",
        "line 9: it does not end with",
    ] {
        assert!(fault.contains(part), "{part}: {fault}");
    }
    assert!(!fault.contains("line 8") && !fault.contains(TOKEN), "{fault}");
    assert!(Grants::parse("# nothing\n").unwrap_err().contains("holds no line"));
    let twice = [line("a read", TOKEN), line("b read", TOKEN)].join("\n");
    assert!(Grants::parse(&twice).unwrap_err().contains("line 2: its token stands in an earlier"));
    let many: Vec<_> = (0..=1_000).map(|n| format!("n{n} read certificate")).collect();
    assert!(Grants::parse(&many.join("\n")).unwrap_err().contains("more than 1000 lines"));
}

#[test]
fn a_token_is_found_in_any_line_until_its_time_is_over() {
    let grants = grants(&[
        line("first read", TOKEN),
        line("second admin expires=2026-01-02T03:04:06Z", OTHER),
    ]);
    let found = |token: &str, now| name_and_right(grants.by_token(token.as_bytes(), now));
    assert_eq!(found(TOKEN, NOW), Ok(("first".to_owned(), Right::Read)));
    assert_eq!(found(OTHER, NOW), Ok(("second".to_owned(), Right::Admin)));
    let later = Timestamp::from_micros(NOW.as_micros() + 1_000_000);
    assert_eq!(found(OTHER, later), Err(Denial::Expired("second".into())));
    for wrong in ["", "0123456789abcdef0123456789abcdeF", &TOKEN[..31], &format!("{TOKEN}0")] {
        assert_eq!(found(wrong, NOW), Err(Denial::UnknownToken), "{wrong}");
    }
}

#[test]
fn the_first_line_that_matches_a_certificate_counts() {
    let grants = grants(&[
        "eir-*.example write services=eir,eir-* certificate".to_owned(),
        "spiffe://core/old write expires=2020-01-01T00:00:00Z certificate".to_owned(),
        "*.example read certificate".to_owned(),
        line("eir-1.example admin", TOKEN),
    ]);
    let found = |name: &str| grants.by_certificate(&name.into(), NOW);
    let eir = found("eir-1.example").unwrap();
    assert_eq!((&*eir.name, eir.right), ("eir-1.example", Right::Write));
    assert!(eir.may_write("eir") && eir.may_write("eir-2") && !eir.may_write("http-gw"));
    let other = found("a.example").unwrap();
    assert!(other.right == Right::Read && !other.may_write("eir"));
    assert_eq!(name_and_right(found("stranger")), Err(Denial::Unlisted("stranger".into())));
    let old: Arc<str> = "spiffe://core/old".into();
    assert_eq!(name_and_right(found(&old)), Err(Denial::Expired(old)));
}

#[test]
fn a_star_stands_for_any_characters_and_everything_else_for_itself() {
    for (pattern, name, is_match) in [
        ("eir", "eir", true),
        ("eir", "eir-2", false),
        ("eir*", "eir", true),
        ("*", "", true),
        ("*gw", "http-gw", true),
        ("*gw", "gw-http", false),
        ("a*b*c", "axxbyyc", true),
        ("a*b*c", "axxcyyb", false),
        ("a*a", "a", false),
        ("**", "x", true),
        ("a*b*b", "ab", false),
        ("a.c", "abc", false),
    ] {
        assert_eq!(matches(pattern, name), is_match, "{pattern} {name}");
    }
}

fn write(directory: &Path, certificate: &ServerCertificate, ca: Option<&TestCa>) -> TlsFiles {
    let files = TlsFiles {
        certificate: directory.join("tls.crt"),
        key: directory.join("tls.key"),
        client_ca: ca.map(|_| directory.join("ca.crt")),
    };
    std::fs::write(&files.certificate, &certificate.certificate).unwrap();
    std::fs::write(&files.key, &certificate.key).unwrap();
    if let (Some(path), Some(ca)) = (&files.client_ca, ca) {
        std::fs::write(path, &ca.certificate).unwrap();
    }
    files
}

fn load(tls: Option<TlsFiles>, tokens: Option<&Path>) -> Result<Option<Access>, String> {
    let settings = Settings { tls, tokens_file: tokens.map(Path::to_owned) };
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    Access::load(&settings, clock).map_err(|fault| fault.to_string())
}

#[test]
fn without_files_there_is_nothing_and_with_unusable_ones_no_start() {
    assert!(load(None, None).unwrap().is_none());
    let directory = TempDir::new().unwrap();
    let (one, other) = (TestCa::new().unwrap(), TestCa::new().unwrap());
    let (mine, others) = (one.server(&["a"]).unwrap(), other.server(&["a"]).unwrap());
    let files = write(directory.path(), &mine, Some(&one));
    let access = load(Some(files.clone()), None).unwrap().unwrap();
    assert!(access.asks_for_identity() && access.tls().unwrap().expires().is_some());
    let fault = |setting: &str| {
        let fault = load(Some(files.clone()), None).unwrap_err();
        assert!(fault.contains(setting), "{fault}");
    };
    std::fs::write(&files.key, &others.key).unwrap();
    fault("TLS_KEY_FILE");
    std::fs::write(&files.key, "").unwrap();
    fault("TLS_KEY_FILE");
    std::fs::write(&files.key, &mine.key).unwrap();
    std::fs::write(files.client_ca.as_ref().unwrap(), "no PEM").unwrap();
    fault("TLS_CLIENT_CA_FILE");
    std::fs::remove_file(&files.certificate).unwrap();
    fault("TLS_CERT_FILE");
    let tokens = load(None, Some(&directory.path().join("none"))).unwrap_err();
    assert!(tokens.contains("API_TOKENS_FILE"), "{tokens}");
}

#[test]
fn who_calls_is_said_by_the_token_or_else_by_the_certificate() {
    let directory = TempDir::new().unwrap();
    let tokens = directory.path().join("tokens");
    let lines = [line("reader read", TOKEN), "eir write certificate".to_owned()];
    std::fs::write(&tokens, lines.join("\n")).unwrap();
    let access = load(None, Some(&tokens)).unwrap().unwrap();
    let sent = |header: Option<&str>, presented: Option<Presented>| {
        let caller = access.identify(header.map(str::as_bytes), presented.as_ref());
        name_and_right(caller)
    };
    let bearer = format!("bEaReR   {TOKEN} ");
    let reader = Ok(("reader".to_owned(), Right::Read));
    let eir = || Some(Presented::Valid("eir".into()));
    let refused = || Some(Presented::Refused("its time is over".into()));
    assert_eq!(sent(Some(&bearer), None), reader);
    assert_eq!(sent(Some(&bearer), eir()), reader);
    assert_eq!(sent(Some(&bearer), refused()), reader);
    assert_eq!(sent(None, eir()), Ok(("eir".to_owned(), Right::Write)));
    assert_eq!(sent(None, refused()), Err(Denial::Certificate("its time is over".into())));
    assert_eq!(sent(None, None), Err(Denial::Missing));
    assert_eq!(sent(None, Some(Presented::None)), Err(Denial::Missing));
    assert_eq!(sent(Some("Bearer nonsense"), eir()), Err(Denial::UnknownToken));
    for malformed in ["", "Bearer", "Bearer ", "Basic dTpw", TOKEN] {
        assert_eq!(sent(Some(malformed), eir()), Err(Denial::Malformed), "{malformed}");
    }
}

#[test]
fn refusals_are_counted_by_reason() {
    let refusals = super::Refusals::default();
    for denial in [Denial::Missing, Denial::Missing, Denial::UnknownToken] {
        refusals.count(&denial);
    }
    let counted: Vec<_> = refusals.counts().filter(|(_, count)| *count > 0).collect();
    assert_eq!(counted, [("missing", 2), ("unknown_token", 1)]);
}
