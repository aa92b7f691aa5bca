//! Malformed messages, one by one: each gets the answer RFC 6733 asks for, or its connection ends.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "helpers of tests")]

use telco_codec::s13::{CheckOutcome, CheckRequest, EquipmentStatus};
use telco_codec::{
    APPLICATION_S13, AvpWriter, Command, Definition, Fault, Flags, FrameFault, Header, Identity,
    Imei, Message, MessageWriter, ResultCode, Serial, Splitter, VENDOR_3GPP, avps, refusal,
};

const SERIAL: Serial = Serial { hop_by_hop: 0x1234_5678, end_to_end: 0x9abc_def0 };

fn us() -> Identity {
    Identity::new("eir.example.net", "example.net").unwrap()
}

fn question() -> Vec<u8> {
    let origin = Identity::new("mme.example.net", "example.net").unwrap();
    let imei = Imei::parse("3520990017614823").unwrap();
    CheckRequest::new("mme.example.net;1;2", origin, imei).write(SERIAL).unwrap()
}

/// A request with these AVPs, whatever they are.
fn request(application: u32, command: u32, fill: impl FnOnce(&mut AvpWriter)) -> Vec<u8> {
    let flags = Flags::REQUEST.with(Flags::PROXIABLE);
    let header = Header { flags, command, application, serial: SERIAL };
    let mut writer = MessageWriter::new(&header);
    fill(writer.avps());
    writer.finish().unwrap()
}

/// The question of `question` with the terminal written by `fill`, and more AVPs after it.
fn question_with(
    terminal: impl FnOnce(&mut AvpWriter),
    more: impl FnOnce(&mut AvpWriter),
) -> Vec<u8> {
    request(APPLICATION_S13, 324, |row| {
        row.text(&avps::SESSION_ID, "s;1;1")
            .unsigned32(&avps::AUTH_SESSION_STATE, 1)
            .text(&avps::ORIGIN_HOST, "mme.example.net")
            .text(&avps::ORIGIN_REALM, "example.net")
            .text(&avps::DESTINATION_REALM, "example.net")
            .group(&avps::TERMINAL_INFORMATION, terminal);
        more(row);
    })
}

fn imei(row: &mut AvpWriter) {
    row.text(&avps::IMEI, "35209900176148");
}

fn unknown(code: u32, vendor: Option<u32>, is_mandatory: bool) -> Definition {
    Definition { name: "test", code, vendor, kind: telco_codec::Kind::OctetString, is_mandatory }
}

fn fault_of(frame: &[u8]) -> Fault {
    let checked = Message::parse(frame).and_then(|message| {
        Command::check(&message)?;
        CheckRequest::read(&message)
    });
    checked.unwrap_err()
}

/// The frame is refused with that code; the answer pairs with it and is sound itself. Returns the
/// contents of Failed-AVP.
fn refused(frame: &[u8], code: ResultCode) -> Vec<u8> {
    let fault = fault_of(frame);
    assert_eq!(fault.code, code, "{fault}");
    let answer = refusal(frame, &fault, &us()).unwrap();
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.result_code(), Some(code));
    assert_eq!(answer.header().serial, SERIAL);
    assert!(!answer.header().is_request());
    assert_eq!(answer.header().flags.has(Flags::ERROR), code.is_protocol_error());
    assert_eq!(Identity::origin(&answer).unwrap(), us());
    answer.find(&avps::FAILED_AVP).map(|avp| avp.data.to_vec()).unwrap_or_default()
}

fn set_length(frame: &mut [u8], length: u32) {
    frame[1..4].copy_from_slice(&length.to_be_bytes()[1..]);
}

#[test]
fn a_sound_question_passes() {
    let frame = question();
    let message = Message::parse(&frame).unwrap();
    assert_eq!(Command::check(&message).unwrap(), Command::IdentityCheck);
    let read = CheckRequest::read(&message).unwrap();
    assert_eq!(read.imei.to_string(), "3520990017614823");
    assert_eq!(read.session, "mme.example.net;1;2");
    for outcome in [
        CheckOutcome::Known(EquipmentStatus::Greylisted),
        CheckOutcome::Unknown,
        CheckOutcome::Failed(ResultCode::TOO_BUSY),
    ] {
        let answer = outcome.write(&message, &us()).unwrap();
        let answer = Message::parse(&answer).unwrap();
        Command::check(&answer).unwrap();
        assert_eq!(CheckOutcome::read(&answer).unwrap(), outcome);
        assert_eq!(answer.header().serial, SERIAL);
    }
}

#[test]
fn a_truncated_message_waits_and_is_never_half_read() {
    let frame = question();
    for length in 0..frame.len() {
        let mut splitter = Splitter::new();
        splitter.push(&frame[..length]);
        assert_eq!(splitter.next_frame().unwrap(), None, "{length} bytes");
        assert!(Message::parse(&frame[..length]).is_err(), "{length} bytes");
    }
}

#[test]
fn a_message_length_that_cannot_be_ends_the_connection() {
    for (length, fault) in [
        (0, FrameFault::TooShort(0)),
        (19, FrameFault::TooShort(19)),
        (65_540, FrameFault::TooLong(65_540)),
    ] {
        let mut frame = question();
        set_length(&mut frame, length);
        let mut splitter = Splitter::new();
        splitter.push(&frame);
        assert_eq!(splitter.next_frame(), Err(fault));
    }
}

#[test]
fn a_message_length_that_is_no_multiple_of_four_is_5015_and_the_end() {
    let mut frame = question();
    let odd = u32::try_from(frame.len()).unwrap() - 2;
    set_length(&mut frame, odd);
    let mut splitter = Splitter::new();
    splitter.push(&frame);
    let frame = splitter.next_frame().unwrap().unwrap();
    refused(frame, ResultCode::INVALID_MESSAGE_LENGTH);
    assert!(fault_of(frame).is_fatal);
}

#[test]
fn another_version_is_5011_and_the_end() {
    let mut frame = question();
    frame[0] = 2;
    refused(&frame, ResultCode::UNSUPPORTED_VERSION);
    assert!(fault_of(&frame).is_fatal);
}

#[test]
fn a_message_cut_inside_an_avp_is_5014() {
    let mut frame = question();
    frame.truncate(frame.len() - 4);
    let length = u32::try_from(frame.len()).unwrap();
    set_length(&mut frame, length);
    refused(&frame, ResultCode::INVALID_AVP_LENGTH);
}

#[test]
fn an_avp_length_that_lies_is_5014_with_the_avp_and_a_zero_value() {
    // Session-Id is the first AVP: its length is in bytes 25 to 27.
    for lie in [0, 1, 7, 0x00ff_ffff, 5_000] {
        let mut frame = question();
        frame[25..28].copy_from_slice(&u32::to_be_bytes(lie)[1..]);
        let failed = refused(&frame, ResultCode::INVALID_AVP_LENGTH);
        assert_eq!(failed[..4], 263_u32.to_be_bytes(), "{lie}");
        assert_eq!(failed[5..8], [0, 0, 8], "{lie}");
    }
}

#[test]
fn an_avp_with_a_vendor_but_no_room_for_it_is_5014() {
    let mut frame = request(APPLICATION_S13, 324, |row| {
        row.octets(&unknown(9_999, None, true), &[]);
    });
    frame[24] |= 0x80;
    refused(&frame, ResultCode::INVALID_AVP_LENGTH);
}

#[test]
fn four_bytes_left_over_are_5014() {
    let mut frame = question();
    frame.extend([0, 0, 1, 1]);
    let length = u32::try_from(frame.len()).unwrap();
    set_length(&mut frame, length);
    refused(&frame, ResultCode::INVALID_AVP_LENGTH);
}

#[test]
fn a_number_of_a_wrong_length_is_5014() {
    let wide = Definition { kind: telco_codec::Kind::OctetString, ..unknown(277, None, true) };
    let frame = question_with(imei, |row| {
        row.octets(&wide, &[0; 5]);
    });
    let failed = refused(&frame, ResultCode::INVALID_AVP_LENGTH);
    assert_eq!(failed, [0, 0, 1, 21, 0x40, 0, 0, 12, 0, 0, 0, 0], "header and four zeros");
}

#[test]
fn an_empty_identity_is_5014() {
    let frame = question_with(imei, |row| {
        row.text(&avps::DESTINATION_HOST, "");
    });
    refused(&frame, ResultCode::INVALID_AVP_LENGTH);
}

#[test]
fn a_group_without_its_padding_is_5014() {
    let frame = question_with(imei, |row| {
        // Fourteen bytes of an inner AVP, and not the two that pad it.
        row.octets(&avps::SUPPORTED_FEATURES, &[0, 0, 2, 0x75, 0, 0, 0, 14, 1, 2, 3, 4, 5, 6]);
    });
    refused(&frame, ResultCode::INVALID_AVP_LENGTH);
}

#[test]
fn padding_that_is_not_zero_is_skipped() {
    let mut frame = question();
    let origin = frame.windows(15).position(|bytes| bytes == b"mme.example.net");
    // The session's text comes first; it is 19 bytes and padded with one.
    let padding = origin.unwrap() + 19;
    assert_eq!(frame[padding], 0);
    frame[padding] = 0xff;
    let message = Message::parse(&frame).unwrap();
    assert_eq!(CheckRequest::read(&message).unwrap().session, "mme.example.net;1;2");
}

#[test]
fn an_inner_length_that_lies_is_5014_inside_its_group() {
    let frame = question_with(imei, |row| {
        row.octets(&avps::SUPPORTED_FEATURES, &[0, 0, 2, 0x75, 0, 0, 0, 200, 1, 2, 3, 4]);
    });
    let failed = refused(&frame, ResultCode::INVALID_AVP_LENGTH);
    assert_eq!(failed[..4], 628_u32.to_be_bytes());
}

#[test]
fn groups_nested_beyond_the_bound_are_5004_and_below_it_pass() {
    fn nest(row: &mut AvpWriter, depth: usize) {
        row.group(&avps::SUPPORTED_FEATURES, |inner| {
            if depth > 1 {
                nest(inner, depth - 1);
            }
        });
    }
    let frame = question_with(imei, |row| nest(row, 5_000));
    refused(&frame, ResultCode::INVALID_AVP_VALUE);
    let frame = question_with(imei, |row| nest(row, 8));
    refused(&frame, ResultCode::INVALID_AVP_VALUE);
    let frame = question_with(imei, |row| nest(row, 7));
    Command::check(&Message::parse(&frame).unwrap()).unwrap();
}

#[test]
fn an_unknown_mandatory_avp_is_5001_and_comes_back() {
    let strange = unknown(4_711, Some(VENDOR_3GPP), true);
    let frame = question_with(imei, |row| {
        row.octets(&strange, b"payload");
    });
    let failed = refused(&frame, ResultCode::AVP_UNSUPPORTED);
    assert_eq!(failed[..4], 4_711_u32.to_be_bytes());
    assert_eq!(failed[8..12], VENDOR_3GPP.to_be_bytes());
    assert_eq!(&failed[12..19], b"payload");
}

#[test]
fn an_unknown_mandatory_avp_in_a_group_comes_back_in_its_group() {
    let strange = unknown(4_711, None, true);
    let frame = question_with(
        |row| {
            imei(row);
            row.octets(&strange, &[1]);
        },
        |_| (),
    );
    let failed = refused(&frame, ResultCode::AVP_UNSUPPORTED);
    assert_eq!(failed[..4], 1_401_u32.to_be_bytes());
    assert_eq!(failed[12..16], 4_711_u32.to_be_bytes());
}

#[test]
fn an_unknown_avp_that_does_not_insist_is_ignored() {
    let frame = question_with(imei, |row| {
        row.octets(&unknown(4_711, None, false), &[1; 30]);
    });
    Command::check(&Message::parse(&frame).unwrap()).unwrap();
}

#[test]
fn a_huge_guilty_avp_does_not_come_back_whole() {
    let frame = question_with(imei, |row| {
        row.octets(&unknown(4_711, None, true), &vec![7; 60_000]);
    });
    assert_eq!(refused(&frame, ResultCode::AVP_UNSUPPORTED).len(), 8);
}

#[test]
fn an_unknown_command_is_3001() {
    refused(&request(APPLICATION_S13, 325, |_| ()), ResultCode::COMMAND_UNSUPPORTED);
    refused(&request(0, 324, |_| ()), ResultCode::COMMAND_UNSUPPORTED);
}

#[test]
fn an_unknown_application_is_3007() {
    refused(&request(16_777_251, 324, |_| ()), ResultCode::APPLICATION_UNSUPPORTED);
}

#[test]
fn a_request_that_says_it_is_an_error_is_3008() {
    let mut frame = question();
    frame[4] |= 0x20;
    refused(&frame, ResultCode::INVALID_HDR_BITS);
}

#[test]
fn a_missing_avp_is_5005_with_an_example() {
    let frame = request(APPLICATION_S13, 324, |row| {
        row.text(&avps::SESSION_ID, "s;1;1");
    });
    let failed = refused(&frame, ResultCode::MISSING_AVP);
    assert_eq!(failed, [0, 0, 1, 21, 0x40, 0, 0, 12, 0, 0, 0, 0], "Auth-Session-State");
    let failed = refused(&question_with(|_| (), |_| ()), ResultCode::MISSING_AVP);
    assert_eq!(failed[..4], 1_401_u32.to_be_bytes(), "the group it is missing in");
    assert_eq!(failed[12..16], 1_402_u32.to_be_bytes());
}

#[test]
fn an_avp_that_occurs_twice_is_5009_and_the_second_comes_back() {
    let frame = question_with(imei, |row| {
        row.text(&avps::ORIGIN_REALM, "second");
    });
    let failed = refused(&frame, ResultCode::AVP_OCCURS_TOO_MANY_TIMES);
    assert_eq!(&failed[8..14], b"second");
}

#[test]
fn an_imei_that_is_none_is_5004() {
    for text in ["3520990017614", "3520990017614823", "35209900I76148", ""] {
        let frame = question_with(
            |row| {
                row.text(&avps::IMEI, text);
            },
            |_| (),
        );
        let failed = refused(&frame, ResultCode::INVALID_AVP_VALUE);
        assert_eq!(failed[..4], 1_401_u32.to_be_bytes());
    }
}

#[test]
fn a_text_that_is_not_utf8_is_5004() {
    let frame = question_with(imei, |row| {
        row.octets(&avps::USER_NAME, &[0xff, 0xfe]);
    });
    refused(&frame, ResultCode::INVALID_AVP_VALUE);
}

#[test]
fn an_answer_is_never_answered() {
    let mut frame = question();
    frame[4] &= 0x7f;
    frame[0] = 9;
    assert_eq!(refusal(&frame, &Message::parse(&frame).unwrap_err(), &us()), None);
    assert_eq!(refusal(&frame[..19], &Message::parse(&frame[..19]).unwrap_err(), &us()), None);
}

#[test]
fn an_answer_brings_session_and_proxies_back_in_order() {
    let proxy = |row: &mut AvpWriter, name: &str| {
        row.group(&avps::PROXY_INFO, |group| {
            group.text(&avps::PROXY_HOST, name).octets(&avps::PROXY_STATE, &[1]);
        });
    };
    let frame = question_with(imei, |row| {
        proxy(row, "first");
        row.octets(&unknown(4_711, None, true), &[]);
        proxy(row, "second");
    });
    let fault = fault_of(&frame);
    let answer = refusal(&frame, &fault, &us()).unwrap();
    let answer = Message::parse(&answer).unwrap();
    assert_eq!(answer.find(&avps::SESSION_ID).unwrap().text().unwrap(), "s;1;1");
    let proxies = answer.avps().filter(|avp| avp.is(&avps::PROXY_INFO));
    let names = proxies.map(|avp| avp.group().find(&avps::PROXY_HOST).unwrap().data.to_vec());
    assert_eq!(names.collect::<Vec<_>>(), [b"first".to_vec(), b"second".to_vec()]);
}
