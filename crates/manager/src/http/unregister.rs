//! `DELETE /unregister`: a pod leaves.

use axum::extract::{Request, State};
use governance_domain::limits::INSTANCE_ID_MAX;
use governance_domain::{PodKey, PodName, RegistrationId, ServiceName, Unregister};

use super::access::{self, Write};
use super::problem::Problem;
use super::query::Query;
use super::{Answer, Shared, body, json_answer, origin, refusal};
use crate::engine::AuditAction;
use crate::wire;

/// The longest name that is looked for; the grammar is not checked, so that every row can go.
const NAME_MAX: usize = 255;

pub(super) async fn unregister(State(state): Shared, request: Request) -> Answer {
    state.check_writable()?;
    let (parts, sent) = request.into_parts();
    body::ignore(&parts.headers, sent).await?;
    let command = read(parts.uri.query())?;
    let key = command.key.clone();
    access::check_service(&state, &parts, Write::Unregister, &key)?;
    let gone = state.engine.unregister(command, origin(&parts), state.deadline()).await;
    let gone = match gone {
        Ok(gone) => gone,
        Err(error) => {
            let (action, origin) = (AuditAction::Unregister, origin(&parts));
            return Err(refusal::unapplied(&state, action, key, origin, &error));
        }
    };
    let mut out = Vec::with_capacity(384);
    out.extend_from_slice(b"{\"status\":\"success\",\"message\":\"the pod is unregistered\"");
    wire::write_text_field(&mut out, "service_name", key.service.as_str());
    wire::write_text_field(&mut out, "pod_name", key.pod.as_str());
    wire::write_number_field(&mut out, "registration_id", gone.registration_id.as_u64());
    wire::write_number_field(&mut out, "revision", gone.revision.as_u64());
    let registry_id = state.engine.snapshot().registry_id;
    wire::write_uuid_field(&mut out, "registry_id", registry_id);
    out.push(b'}');
    Ok(json_answer(out))
}

fn read(query: Option<&str>) -> Result<Unregister, Problem> {
    let mut query = Query::new(query);
    let service = name(&mut query, "service_name");
    let pod = name(&mut query, "pod_name");
    let registration_id = query.parsed("registration_id", |text| {
        let number = text.parse().map_err(|_| {
            format!("{text:?} is not a registration_id: give the number that register answered")
        });
        number.map(RegistrationId::from_u64)
    });
    let instance_id = query.parsed("instance_id", |text| {
        if text.chars().count() <= INSTANCE_ID_MAX {
            Ok(Box::from(text))
        } else {
            Err(format!("is longer than {INSTANCE_ID_MAX} characters: give the registered one"))
        }
    });
    query.finish()?;
    let key = PodKey::new(ServiceName::stored(&service), PodName::stored(&pod));
    Ok(Unregister { key, registration_id, instance_id })
}

/// The pod that a request is about, if it names one.
pub(super) fn named(query: Option<&str>) -> Option<PodKey> {
    let mut query = Query::new(query);
    let (service, pod) = (name(&mut query, "service_name"), name(&mut query, "pod_name"));
    let is_named = ![&service, &pod].iter().any(|name| name.is_empty())
        && [&service, &pod].iter().all(|name| name.chars().count() <= NAME_MAX);
    is_named.then(|| PodKey::new(ServiceName::stored(&service), PodName::stored(&pod)))
}

/// A name; empty only if there is a fault.
fn name(query: &mut Query<'_>, parameter: &'static str) -> String {
    let Some(name) = query.required(parameter) else { return String::new() };
    if name.chars().count() > NAME_MAX {
        let fault = format!("is longer than {NAME_MAX} characters: no pod has such a name");
        query.fault(parameter, fault);
    }
    name.into_owned()
}
