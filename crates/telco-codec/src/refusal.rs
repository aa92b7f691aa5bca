//! The answer to a request that cannot be accepted (RFC 6733 §6.2, §7).

use crate::avp::Avps;
use crate::dictionary::avps;
use crate::fault::Fault;
use crate::header::{Flags, HEADER_LENGTH, Header};
use crate::identity::Identity;
use crate::message::Message;
use crate::result_code::ResultCode;
use crate::writer::{AvpWriter, MessageWriter};

/// Answers a frame with what is wrong with it: the same identifiers and command, Session-Id and
/// Proxy-Info as they came, Result-Code, Failed-AVP, and the E flag for a protocol error.
///
/// None when nobody may be answered: the frame is an answer itself, or has no whole header.
pub fn refusal(frame: &[u8], fault: &Fault, us: &Identity) -> Option<Vec<u8>> {
    let (_, _, header) = Header::read(frame)?;
    if !header.is_request() {
        return None;
    }
    let row = Avps::new(frame.get(HEADER_LENGTH..).unwrap_or_default());
    let mut writer = begin(&header, fault.code);
    echo_session(row.clone(), writer.avps());
    writer.avps().unsigned32(&avps::RESULT_CODE, fault.code.0);
    us.write(writer.avps());
    if !fault.failed.is_empty() {
        writer.avps().octets(&avps::FAILED_AVP, &fault.failed);
    }
    echo_proxies(row, writer.avps());
    // What was sent back was too much: then without it.
    writer.finish().ok().or_else(|| {
        let mut writer = begin(&header, fault.code);
        writer.avps().unsigned32(&avps::RESULT_CODE, fault.code.0);
        us.write(writer.avps());
        writer.finish().ok()
    })
}

/// Begins an answer to a request that is sound.
pub(crate) fn begin_answer(request: &Message<'_>, code: ResultCode) -> MessageWriter {
    let mut writer = begin(&request.header(), code);
    if let Some(session) = request.find(&avps::SESSION_ID) {
        writer.avps().copy(&session);
    }
    writer
}

/// Ends an answer to a request: agents on the way want their Proxy-Info back.
pub(crate) fn end_answer(request: &Message<'_>, writer: &mut MessageWriter) {
    for avp in request.avps().filter(|avp| avp.is(&avps::PROXY_INFO)) {
        writer.avps().copy(&avp);
    }
}

fn begin(header: &Header, code: ResultCode) -> MessageWriter {
    let flags = if code.is_protocol_error() { Flags::ERROR } else { Flags::none() };
    MessageWriter::new(&header.answer(flags))
}

fn echo_session(row: Avps<'_>, writer: &mut AvpWriter) {
    if let Some(session) = row.find(&avps::SESSION_ID) {
        writer.copy(&session);
    }
}

fn echo_proxies(row: Avps<'_>, writer: &mut AvpWriter) {
    for avp in row.map_while(Result::ok).filter(|avp| avp.is(&avps::PROXY_INFO)) {
        writer.copy(&avp);
    }
}
