//! A stream of bytes from a stranger: cut, read, answered. Finds panics and answers that are not
//! sound themselves.

#![no_main]

use libfuzzer_sys::fuzz_target;
use telco_codec::peer::Capabilities;
use telco_codec::s13::{CheckOutcome, CheckRequest};
use telco_codec::{Command, Fault, Identity, MESSAGE_MAX, Message, Splitter, refusal};

fn read(frame: &[u8]) -> Result<(), Fault> {
    let message = Message::parse(frame)?;
    match (Command::check(&message)?, message.header().is_request()) {
        (Command::CapabilitiesExchange, _) => Capabilities::read(&message).map(drop),
        (Command::IdentityCheck, true) => CheckRequest::read(&message).map(drop),
        (Command::IdentityCheck, false) => CheckOutcome::read(&message).map(drop),
        (Command::DeviceWatchdog | Command::DisconnectPeer, _) => {
            Identity::origin(&message).map(drop)
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let us = Identity::new("fuzz.example.net", "example.net").expect("two names");
    let mut splitter = Splitter::new();
    for piece in bytes.chunks(97) {
        splitter.push(piece);
        while let Ok(Some(frame)) = splitter.next_frame() {
            let Err(fault) = read(frame) else { continue };
            if let Some(answer) = refusal(frame, &fault, &us) {
                assert!(answer.len() <= MESSAGE_MAX);
                Message::parse(&answer).expect("an answer is sound");
            }
        }
        assert!(splitter.waiting() <= MESSAGE_MAX + 97 || splitter.next_frame().is_err());
    }
});
