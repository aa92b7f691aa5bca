//! Who this process is when nobody said: names and addresses as container platforms give them.

use std::env::VarError;

/// The pod's name: `POD_NAME`, else `HOSTNAME`, else the host's name.
pub(crate) fn pod_name() -> Option<String> {
    variable("POD_NAME").or_else(|| variable("HOSTNAME")).or_else(host_name)
}

/// The pod's address: `POD_IP`.
pub(crate) fn pod_ip() -> Option<String> {
    variable("POD_IP")
}

/// The managers: `GOVERNANCE_MANAGER_URL`, several separated by commas.
pub(crate) fn managers() -> Vec<String> {
    let list = variable("GOVERNANCE_MANAGER_URL").unwrap_or_default();
    list.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect()
}

/// Set and not empty.
fn variable(name: &str) -> Option<String> {
    match std::env::var(name) {
        Ok(value) => Some(value.trim().to_owned()).filter(|value| !value.is_empty()),
        Err(VarError::NotPresent) => None,
        Err(VarError::NotUnicode(_)) => {
            tracing::warn!("{name} is not UTF-8 and is ignored");
            None
        }
    }
}

fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    Some(name).filter(|name| !name.is_empty())
}
