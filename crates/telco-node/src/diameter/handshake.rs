//! The exchange of capabilities that begins every connection (RFC 6733 §5.3), from either side.

use std::net::SocketAddr;

use telco_codec::peer::Capabilities;
use telco_codec::{Command, Fault, FrameFault, Message, ResultCode, Splitter, refusal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::connection::serial;
use super::{CHUNK, HANDSHAKE_MAX, Node};

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum HandshakeFault {
    #[error("the connection broke")]
    Broken(#[from] std::io::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("no exchange of capabilities in time")]
    TooLate,
    #[error("the peer's first message cannot be read")]
    Frame(#[from] FrameFault),
    #[error("the peer's first message is wrong")]
    Message(#[from] Fault),
    #[error("the peer did not begin with capabilities")]
    NotCapabilities,
    #[error("no common application")]
    NothingInCommon,
    #[error("the peer refuses us: {0}")]
    Refused(ResultCode),
}

/// A connection whose peer is known.
pub(super) struct Met {
    pub(super) stream: TcpStream,
    /// With what came right after the exchange.
    pub(super) splitter: Splitter,
    pub(super) peer: Capabilities,
}

/// Connects and introduces us.
pub(super) async fn open(address: SocketAddr, node: &Node) -> Result<Met, HandshakeFault> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(&node.capabilities.request(serial())).await?;
        let mut splitter = Splitter::new();
        let frame = first_frame(&mut stream, &mut splitter).await?;
        let message = Message::parse(&frame)?;
        let is_ours = Command::check(&message)? == Command::CapabilitiesExchange;
        if !is_ours || message.header().is_request() {
            return Err(HandshakeFault::NotCapabilities);
        }
        match message.result_code() {
            Some(code) if code.is_success() => (),
            code => return Err(HandshakeFault::Refused(code.unwrap_or(ResultCode(0)))),
        }
        let peer = Capabilities::read(&message)?;
        if !node.capabilities.shares_with(&peer) {
            return Err(HandshakeFault::NothingInCommon);
        }
        Ok(Met { stream, splitter, peer })
    };
    timeout(HANDSHAKE_MAX, exchange).await.map_err(|_| HandshakeFault::TooLate)?
}

/// Waits for the peer to introduce itself and answers.
pub(super) async fn accept(mut stream: TcpStream, node: &Node) -> Result<Met, HandshakeFault> {
    let exchange = async {
        let mut splitter = Splitter::new();
        let frame = first_frame(&mut stream, &mut splitter).await?;
        let (answer, verdict) = judge(&frame, node);
        if let Some(answer) = answer {
            stream.write_all(&answer).await?;
        }
        Ok(Met { stream, splitter, peer: verdict? })
    };
    timeout(HANDSHAKE_MAX, exchange).await.map_err(|_| HandshakeFault::TooLate)?
}

/// What a first message gets, and who sent it.
fn judge(frame: &[u8], node: &Node) -> (Option<Vec<u8>>, Result<Capabilities, HandshakeFault>) {
    let us = &node.capabilities;
    let read = Message::parse(frame).and_then(|message| {
        let command = Command::check(&message)?;
        Ok((command, message))
    });
    let (command, message) = match read {
        Ok(read) => read,
        Err(fault) => return (refusal(frame, &fault, &us.identity), Err(fault.into())),
    };
    // Before the exchange nothing else is answered (RFC 6733 §5.6: the connection is closed).
    if command != Command::CapabilitiesExchange || !message.header().is_request() {
        return (None, Err(HandshakeFault::NotCapabilities));
    }
    match Capabilities::read(&message) {
        Ok(peer) if us.shares_with(&peer) => {
            (Some(us.answer(&message, ResultCode::SUCCESS)), Ok(peer))
        }
        Ok(_) => (
            Some(us.answer(&message, ResultCode::NO_COMMON_APPLICATION)),
            Err(HandshakeFault::NothingInCommon),
        ),
        Err(fault) => (refusal(frame, &fault, &us.identity), Err(fault.into())),
    }
}

async fn first_frame(
    stream: &mut TcpStream,
    splitter: &mut Splitter,
) -> Result<Vec<u8>, HandshakeFault> {
    let mut chunk = vec![0; CHUNK];
    loop {
        if let Some(frame) = splitter.next_frame()? {
            return Ok(frame.to_vec());
        }
        let count = stream.read(&mut chunk).await?;
        if count == 0 {
            return Err(HandshakeFault::Closed);
        }
        splitter.push(chunk.get(..count).unwrap_or_default());
    }
}
