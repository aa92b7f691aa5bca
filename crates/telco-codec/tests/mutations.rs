//! Sound messages, changed at random: nothing panics, every answer is sound, nothing grows beyond
//! its bound. `TELCO_CODEC_MUTATIONS` says how many (100,000); `TELCO_CODEC_SEED` where it begins,
//! and a failure prints it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::net::IpAddr;

use telco_codec::peer::{
    Capabilities, DisconnectCause, disconnect_answer, disconnect_request, watchdog_answer,
    watchdog_request,
};
use telco_codec::s13::{CheckOutcome, CheckRequest, EquipmentStatus};
use telco_codec::{
    APPLICATION_RELAY, APPLICATION_S13, Command, Fault, Identity, Imei, MESSAGE_MAX, Message,
    Serial, Splitter, avps, refusal,
};

const SERIAL: Serial = Serial { hop_by_hop: 1, end_to_end: 2 };
/// What one run may hold on top of what it began with: buffers of one message, an answer, and
/// what the test itself keeps.
const GROWTH_MAX_KIB: u64 = 16 * 1024;

/// `SplitMix64` (Steele, Lea, Flood, 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % u64::try_from(bound.max(1)).unwrap()).unwrap()
    }
}

fn us() -> Identity {
    Identity::new("eir.example.net", "example.net").unwrap()
}

fn corpus() -> Vec<Vec<u8>> {
    let addresses: Vec<IpAddr> = vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
    let capabilities = Capabilities {
        identity: us(),
        addresses,
        vendor: 10_415,
        product: "codec".to_owned(),
        state: Some(7),
        applications: vec![APPLICATION_S13, APPLICATION_RELAY],
    };
    let imei = Imei::parse("3520990017614823").unwrap();
    let mut question = CheckRequest::new("mme.example.net;1;2", us(), imei);
    question.user = Some("001010123456789".to_owned());
    question.destination_host = Some("eir.example.net".to_owned());
    let requests = [
        capabilities.request(SERIAL),
        watchdog_request(&us(), Some(7), SERIAL),
        disconnect_request(&us(), DisconnectCause::Busy, SERIAL),
        question.write(SERIAL).unwrap(),
    ];
    let [cer, dwr, dpr, ecr] = requests.each_ref().map(|frame| Message::parse(frame).unwrap());
    let relayed = ecr.forwarded(&ecr.header(), Some((&avps::ROUTE_RECORD, "relay"))).unwrap();
    let mut frames = vec![
        capabilities.answer(&cer, telco_codec::ResultCode::SUCCESS),
        watchdog_answer(&us(), None, &dwr),
        disconnect_answer(&us(), &dpr),
        CheckOutcome::Known(EquipmentStatus::Blacklisted).write(&ecr, &us()).unwrap(),
        CheckOutcome::Unknown.write(&ecr, &us()).unwrap(),
        relayed,
    ];
    frames.extend(requests);
    frames
}

/// One to four changes: bits, bytes, lengths, cuts, copies from another message.
fn mutate(frame: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    for _ in 0..=random.below(4) {
        let at = random.below(frame.len());
        match random.below(8) {
            0 => frame[at] ^= 1 << random.below(8),
            1 => frame[at] = random.next().to_be_bytes()[0],
            2 => frame.truncate(at.max(4)),
            3 => {
                let piece = random.below(other.len());
                frame.splice(at..at, other[piece..].iter().copied().take(64));
            }
            4 => {
                // A length or a code of an AVP, most likely.
                let word = at & !3;
                let value = u32::try_from(random.below(1 << 9)).unwrap().to_be_bytes();
                for (place, byte) in frame[word..].iter_mut().zip(value) {
                    *place = byte;
                }
            }
            5 => frame[at] = 0xff,
            6 => {
                let end = (at + random.below(40)).min(frame.len());
                frame.drain(at..end);
                frame.resize(frame.len().max(4), 0);
            }
            _ => {
                // The message says its true length again, so that what is inside gets looked at.
                let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
                frame[1..4].copy_from_slice(&length[1..]);
            }
        }
    }
    if random.below(4) > 0 {
        frame.resize(frame.len().next_multiple_of(4), 0);
        let length = u32::try_from(frame.len()).unwrap().to_be_bytes();
        frame[1..4].copy_from_slice(&length[1..]);
    }
}

/// Everything a receiver does with a frame; the faults of all readers.
fn read_all(frame: &[u8]) -> Result<(), Fault> {
    let message = Message::parse(frame)?;
    let forwarded = message.forwarded(&message.header(), Some((&avps::ROUTE_RECORD, "relay")));
    if let Ok(forwarded) = forwarded {
        assert!(forwarded.len() <= MESSAGE_MAX);
        Message::parse(&forwarded).expect("what is sent on is sound");
    }
    let command = Command::check(&message)?;
    match (command, message.header().is_request()) {
        (Command::CapabilitiesExchange, _) => Capabilities::read(&message).map(drop),
        (Command::IdentityCheck, true) => {
            let question = CheckRequest::read(&message)?;
            question.write(SERIAL).expect("what was read fits");
            CheckOutcome::Unknown.write(&message, &us()).expect("an answer fits");
            Ok(())
        }
        (Command::IdentityCheck, false) => CheckOutcome::read(&message).map(drop),
        (Command::DeviceWatchdog | Command::DisconnectPeer, _) => {
            Identity::origin(&message).map(drop)
        }
    }
}

fn feed(stream: &[u8], random: &mut Random) -> (u64, u64) {
    let mut splitter = Splitter::new();
    let (mut sound, mut refused) = (0, 0);
    let piece = 1 + random.below(stream.len());
    for bytes in stream.chunks(piece) {
        splitter.push(bytes);
        loop {
            let frame = match splitter.next_frame() {
                Ok(Some(frame)) => frame,
                Ok(None) => break,
                Err(_) => return (sound, refused + 1),
            };
            match read_all(frame) {
                Ok(()) => sound += 1,
                Err(fault) => {
                    refused += 1;
                    if let Some(answer) = refusal(frame, &fault, &us()) {
                        assert!(answer.len() <= MESSAGE_MAX);
                        let answer = Message::parse(&answer).expect("an answer is sound");
                        assert_eq!(answer.result_code(), Some(fault.code));
                    }
                    if fault.is_fatal {
                        return (sound, refused);
                    }
                }
            }
        }
        assert!(splitter.capacity() <= 2 * (MESSAGE_MAX + stream.len()));
    }
    (sound, refused)
}

/// The most memory this process ever held, in KiB; none where the system does not tell.
fn peak_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect(name))
}

#[test]
fn changed_messages_never_panic_and_never_take_more_than_the_bound() {
    let count = setting("TELCO_CODEC_MUTATIONS", 100_000);
    let first = setting("TELCO_CODEC_SEED", 1);
    let corpus = corpus();
    let before = peak_kib();
    let (mut sound, mut refused) = (0, 0);
    for seed in first..first + count {
        let run = std::panic::catch_unwind(|| {
            let mut random = Random(seed.wrapping_mul(0x2545_f491_4f6c_dd1d));
            let mut stream = corpus[random.below(corpus.len())].clone();
            let other = &corpus[random.below(corpus.len())];
            mutate(&mut stream, other, &mut random);
            feed(&stream, &mut random)
        });
        let (more_sound, more_refused) =
            run.unwrap_or_else(|_| panic!("TELCO_CODEC_SEED={seed} TELCO_CODEC_MUTATIONS=1"));
        sound += more_sound;
        refused += more_refused;
    }
    println!("{count} changed messages: {sound} sound, {refused} refused");
    assert!(sound > 0 && refused > 0, "{sound} sound, {refused} refused: nothing was tried");
    if let (Some(before), Some(after)) = (before, peak_kib()) {
        println!("memory at most {} KiB more than at the start", after - before);
        assert!(after - before <= GROWTH_MAX_KIB, "{before} KiB before, {after} KiB after");
    }
}
