//! S13: the answer to an ME-Identity-Check-Request, at once and from memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use telco_codec::peer::Capabilities;
use telco_codec::s13::{CheckOutcome, CheckRequest};
use telco_codec::{Command, Fault, Flags, Identity, Message, ResultCode};
use telco_node::diameter::{Reply, Service};

use crate::Current;

/// The register as a peer sees it.
pub(crate) struct Register {
    pub(crate) us: Identity,
    pub(crate) list: Current,
    /// Requests taken.
    pub(crate) asked: Arc<AtomicU64>,
}

impl Service for Register {
    fn take(&self, request: &Message<'_>, from: &Arc<Capabilities>, reply: Reply) {
        self.asked.fetch_add(1, Ordering::Relaxed);
        match self.answer(request) {
            Ok(answer) => reply.send(answer),
            Err(fault) => {
                let peer = from.identity.host();
                tracing::info!(peer, %fault, "a request is refused");
                if let Some(answer) = request.refusal(&fault, &self.us) {
                    reply.send(answer);
                }
            }
        }
    }
}

impl Register {
    fn answer(&self, message: &Message<'_>) -> Result<Vec<u8>, Fault> {
        if Command::check(message)? != Command::IdentityCheck {
            let reason = "not a question for a register";
            return Err(Fault::new(ResultCode::COMMAND_UNSUPPORTED, reason));
        }
        let request = CheckRequest::read(message)?;
        let status = self.list.load().status(request.imei);
        let outcome = status.map_or(CheckOutcome::Unknown, CheckOutcome::Known);
        let is_repeated = message.header().flags.has(Flags::RETRANSMITTED);
        tracing::debug!(session = request.session, ?outcome, is_repeated, "asked over S13");
        let too_long = |_| Fault::new(ResultCode::UNABLE_TO_COMPLY, "the answer would be too long");
        outcome.write(message, &self.us).map_err(too_long)
    }
}
