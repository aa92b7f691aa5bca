//! Who this process is when nobody said: names and addresses as container platforms give them.

use std::env::VarError;

/// The environment, or in tests something like it.
pub(crate) trait Environment {
    /// A variable that is set and not empty.
    fn variable(&self, name: &str) -> Option<String>;
}

/// The process's own.
pub(crate) struct OwnEnvironment;

impl Environment for OwnEnvironment {
    fn variable(&self, name: &str) -> Option<String> {
        match std::env::var(name) {
            Ok(value) => Some(value.trim().to_owned()).filter(|value| !value.is_empty()),
            Err(VarError::NotPresent) => None,
            Err(VarError::NotUnicode(_)) => {
                tracing::warn!("{name} is not UTF-8 and is ignored");
                None
            }
        }
    }
}

/// The pod's name: `POD_NAME`, else `HOSTNAME`, else the host's name.
pub(crate) fn pod_name(environment: &dyn Environment) -> Option<String> {
    let named = environment.variable("POD_NAME").or_else(|| environment.variable("HOSTNAME"));
    named.or_else(host_name)
}

/// The pod's address: `POD_IP`.
pub(crate) fn pod_ip(environment: &dyn Environment) -> Option<String> {
    environment.variable("POD_IP")
}

/// The managers: `GOVERNANCE_MANAGER_URL`, several separated by commas.
pub(crate) fn managers(environment: &dyn Environment) -> Vec<String> {
    let list = environment.variable("GOVERNANCE_MANAGER_URL").unwrap_or_default();
    list.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::to_owned).collect()
}

fn host_name() -> Option<String> {
    let name = rustix::system::uname().nodename().to_str().ok()?.to_owned();
    Some(name).filter(|name| !name.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixed(&'static [(&'static str, &'static str)]);

    impl Environment for Fixed {
        fn variable(&self, name: &str) -> Option<String> {
            let found = self.0.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        }
    }

    #[test]
    fn a_pod_is_called_as_the_platform_says_else_as_its_host() {
        let both = Fixed(&[("POD_NAME", "eir-7"), ("HOSTNAME", "other")]);
        assert_eq!(pod_name(&both).as_deref(), Some("eir-7"));
        assert_eq!(pod_name(&Fixed(&[("HOSTNAME", "other")])).as_deref(), Some("other"));
        assert_eq!(pod_name(&Fixed(&[])), host_name());
        assert!(host_name().is_some(), "every machine has a name");
    }

    #[test]
    fn address_and_managers_come_from_the_environment() {
        let environment = Fixed(&[
            ("POD_IP", "192.0.2.7"),
            ("GOVERNANCE_MANAGER_URL", "http://a:1, http://b:1,,"),
        ]);
        assert_eq!(pod_ip(&environment).as_deref(), Some("192.0.2.7"));
        assert_eq!(managers(&environment), ["http://a:1", "http://b:1"]);
        assert_eq!((pod_ip(&Fixed(&[])), managers(&Fixed(&[]))), (None, Vec::new()));
    }
}
