//! Another's reading of what we write: Wireshark's dissector takes every message apart without a
//! complaint and finds the values that were put in.
//!
//! Skipped, and says so, where `tshark` is not installed; the gate installs it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use std::path::Path;
use std::process::Command as Process;

use telco_codec::peer::{
    Capabilities, DisconnectCause, disconnect_answer, disconnect_request, watchdog_answer,
    watchdog_request,
};
use telco_codec::s13::{CheckOutcome, CheckRequest, EquipmentStatus};
use telco_codec::{
    APPLICATION_RELAY, APPLICATION_S13, Command, Fault, Identity, Imei, Message, ResultCode,
    Serial, avps, refusal,
};

const SERIAL: Serial = Serial { hop_by_hop: 0x11, end_to_end: 0x22 };

fn us() -> Identity {
    Identity::new("eir.example.net", "example.net").unwrap()
}

/// Every kind of message this crate writes.
fn everything() -> Vec<Vec<u8>> {
    let capabilities = Capabilities {
        identity: us(),
        addresses: vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()],
        vendor: 10_415,
        product: "codec".to_owned(),
        state: Some(7),
        applications: vec![APPLICATION_S13, APPLICATION_RELAY],
    };
    let mut question =
        CheckRequest::new("mme.example.net;1;2", us(), Imei::parse("3520990017614823").unwrap());
    question.user = Some("001010123456789".to_owned());
    let cer = capabilities.request(SERIAL);
    let dwr = watchdog_request(&us(), Some(7), SERIAL);
    let dpr = disconnect_request(&us(), DisconnectCause::DoNotWantToTalk, SERIAL);
    let ecr = question.write(SERIAL).unwrap();
    let asked = Message::parse(&ecr).unwrap();
    let missing = Fault::missing(&avps::IMEI).within(&avps::TERMINAL_INFORMATION);
    let busy = Fault::new(ResultCode::TOO_BUSY, "test");
    vec![
        capabilities.answer(&Message::parse(&cer).unwrap(), ResultCode::SUCCESS),
        watchdog_answer(&us(), Some(7), &Message::parse(&dwr).unwrap()),
        disconnect_answer(&us(), &Message::parse(&dpr).unwrap()),
        CheckOutcome::Known(EquipmentStatus::Blacklisted).write(&asked, &us()).unwrap(),
        CheckOutcome::Unknown.write(&asked, &us()).unwrap(),
        asked.forwarded(&asked.header(), Some((&avps::ROUTE_RECORD, "relay.example.net"))).unwrap(),
        refusal(&ecr, &missing, &us()).unwrap(),
        refusal(&ecr, &busy, &us()).unwrap(),
        cer,
        dwr,
        dpr,
        ecr,
    ]
}

/// A capture file (libpcap's classic format) of raw IPv4 packets, one TCP segment per message.
fn capture(frames: &[Vec<u8>]) -> Vec<u8> {
    const RAW_IP: u32 = 101;
    let mut file = Vec::new();
    file.extend(0xa1b2_c3d4_u32.to_le_bytes());
    file.extend([2, 0, 4, 0]);
    for word in [0, 0, 65_535, RAW_IP] {
        file.extend(u32::to_le_bytes(word));
    }
    let mut sequence: u32 = 1;
    for frame in frames {
        let length = u16::try_from(40 + frame.len()).unwrap();
        for word in [0, 0, u32::from(length), u32::from(length)] {
            file.extend(word.to_le_bytes());
        }
        file.extend([0x45, 0]);
        file.extend(length.to_be_bytes());
        file.extend([0, 0, 0x40, 0, 64, 6, 0, 0, 127, 0, 0, 1, 127, 0, 0, 2]);
        file.extend(40_000_u16.to_be_bytes());
        file.extend(3_868_u16.to_be_bytes());
        file.extend(sequence.to_be_bytes());
        file.extend([0, 0, 0, 1, 0x50, 0x18, 0xff, 0xff, 0, 0, 0, 0]);
        file.extend(frame);
        sequence += u32::try_from(frame.len()).unwrap();
    }
    file
}

/// The values of those fields, one line per packet; none if tshark is not there.
fn dissected(file: &Path, filter: &str, fields: &[&str]) -> Option<Vec<String>> {
    let mut command = Process::new("tshark");
    command.arg("-r").arg(file).args(["-n", "-Y", filter, "-T", "fields", "-E", "separator=|"]);
    for field in fields {
        command.args(["-e", field]);
    }
    let output = match command.output() {
        Ok(output) => output,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => panic!("tshark cannot be started: {error}"),
    };
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "tshark: {complaint}");
    Some(String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect())
}

#[test]
fn wireshark_takes_apart_what_is_written_without_a_complaint() {
    let frames = everything();
    for frame in &frames {
        Command::check(&Message::parse(frame).unwrap()).unwrap();
    }
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("everything.pcap");
    std::fs::write(&file, capture(&frames)).unwrap();
    let wanted =
        ["diameter.cmd.code", "diameter.Result-Code", "diameter.IMEI", "diameter.Equipment-Status"];
    let Some(lines) = dissected(&file, "diameter", &wanted) else {
        println!("SKIPPED: tshark is not installed (Debian package tshark)");
        return;
    };
    let expected = [
        "257|2001||",
        "280|2001||",
        "282|2001||",
        "324|2001||1",
        "324|||",
        "324||35209900176148|",
        "324|5005||",
        "324|3004||",
        "257|||",
        "280|||",
        "282|||",
        "324||35209900176148|",
    ];
    // The IMEI in Failed-AVP is empty, and dissectors differ in whether they show it.
    assert_eq!(lines, expected);
    let complaints = dissected(
        &file,
        "_ws.malformed || (diameter && _ws.expert.severity >= warning)",
        &["frame.number", "_ws.expert.message"],
    );
    // The seventh is the refusal, which shows a wrong AVP on purpose.
    let complaints: Vec<String> = complaints.unwrap_or_default();
    let unexpected: Vec<&String> =
        complaints.iter().filter(|line| !line.starts_with("7|")).collect();
    assert_eq!(unexpected, Vec::<&String>::new());
}
