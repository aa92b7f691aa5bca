//! What a relay does with a request (RFC 6733 §6.1): may it go on, where to, and what its sender is
//! told if it does not come to an end.
//!
//! A relay reads what routing needs and nothing else; what is inside is for the register to judge.

use std::sync::Arc;

use telco_codec::peer::Capabilities;
use telco_codec::{APPLICATION_S13, Fault, Flags, Identity, Message, ResultCode, avps, refusal};
use telco_node::diameter::{Reply, Route, Service, Trunk, Undelivered};

/// The relay.
pub(crate) struct Relay {
    pub(crate) us: Identity,
    pub(crate) trunk: Arc<Trunk>,
}

impl Service for Relay {
    fn take(&self, request: &Message<'_>, from: &Arc<Capabilities>, reply: Reply) {
        let host = match self.judge(request) {
            Ok(host) => host,
            Err(fault) => {
                tracing::info!(peer = from.identity.host(), %fault, "a request is not relayed");
                if let Some(answer) = request.refusal(&fault, &self.us) {
                    reply.send(answer);
                }
                return;
            }
        };
        let record = Some((&avps::ROUTE_RECORD, from.identity.host()));
        let (frame, us) = (request.frame().to_vec(), self.us.clone());
        self.trunk.send(request, Route { record, host }, move |ended| match ended {
            Ok(answer) => reply.send(answer),
            Err(why) => {
                tracing::info!(%why, "a request is not delivered");
                if let Some(answer) = refusal(&frame, &undelivered(why), &us) {
                    reply.send(answer);
                }
            }
        });
    }
}

impl Relay {
    /// Whether a request may go on, and to which host only.
    fn judge<'a>(&self, request: &Message<'a>) -> Result<Option<&'a str>, Fault> {
        let header = request.header();
        if header.application != APPLICATION_S13 {
            let reason = "no route for the application";
            return Err(Fault::new(ResultCode::APPLICATION_UNSUPPORTED, reason));
        }
        if !header.flags.has(Flags::PROXIABLE) {
            let reason =
                "a request for the peer itself (P is clear) of an application it only relays";
            return Err(Fault::new(ResultCode::INVALID_HDR_BITS, reason));
        }
        for record in request.avps().filter(|avp| avp.is(&avps::ROUTE_RECORD)) {
            if self.us.is_host(record.text()?) {
                return Err(Fault::new(ResultCode::LOOP_DETECTED, "it was here before"));
            }
        }
        let realm = request.need(&avps::DESTINATION_REALM)?.text()?;
        if !realm.eq_ignore_ascii_case(self.us.realm()) {
            return Err(Fault::new(ResultCode::REALM_NOT_SERVED, "no route to the realm"));
        }
        let Some(host) = request.find(&avps::DESTINATION_HOST) else { return Ok(None) };
        let host = host.text()?;
        // Who names us means whatever is behind us.
        if self.us.is_host(host) {
            return Ok(None);
        }
        if self.trunk.knows_host(host) {
            return Ok(Some(host));
        }
        Err(Fault::new(ResultCode::UNABLE_TO_DELIVER, "no route to the host"))
    }
}

fn undelivered(why: Undelivered) -> Fault {
    match why {
        Undelivered::NoPeer | Undelivered::NoAnswer | Undelivered::TooLong => {
            Fault::new(ResultCode::UNABLE_TO_DELIVER, "no peer can take it")
        }
        Undelivered::Busy => Fault::new(ResultCode::TOO_BUSY, "too much is under way"),
    }
}
