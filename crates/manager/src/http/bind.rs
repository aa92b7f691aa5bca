//! Opening the listening sockets, with a clear word when it cannot be done.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs as _};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the system may hold for us before they are accepted; it lowers the number to
/// its own limit (`net.core.somaxconn`).
const BACKLOG: i32 = 4_096;

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {what}")]
pub struct BindFault {
    /// What was asked for.
    pub address: String,
    /// What is wrong, in a sentence.
    pub what: String,
    hint: String,
    /// What the system said.
    #[source]
    pub source: io::Error,
}

impl BindFault {
    /// What to do about it.
    pub fn hint(&self) -> Option<String> {
        Some(self.hint.clone())
    }
}

/// Opens the sockets for `host`: an address, or a name with all its addresses. Without a host: all
/// addresses, IPv6 and IPv4 on one socket, or IPv4 alone where there is no IPv6. With port 0 the
/// system picks one. Must be called within a tokio runtime.
pub fn bind(host: Option<&str>, port: u16) -> Result<Vec<TcpListener>, BindFault> {
    let Some(host) = host else {
        let every = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
        let listener = listen(every).or_else(|fault| {
            let kind = fault.kind();
            if kind == io::ErrorKind::AddrInUse || kind == io::ErrorKind::PermissionDenied {
                return Err(fault);
            }
            listen(SocketAddr::from((Ipv4Addr::UNSPECIFIED, port)))
        });
        let listener = listener.map_err(|source| explain(every.to_string(), source))?;
        return Ok(vec![listener]);
    };
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        let address = SocketAddr::from((address, port));
        let listener = listen(address).map_err(|source| explain(address.to_string(), source))?;
        return Ok(vec![listener]);
    }
    bind_name(host, port)
}

/// All addresses of a name, on one port. One that this machine does not have is left out.
fn bind_name(host: &str, port: u16) -> Result<Vec<TcpListener>, BindFault> {
    let asked = || format!("{host}:{port}");
    let addresses = (host, port).to_socket_addrs().map_err(|source| BindFault {
        address: asked(),
        what: "the name has no address".to_owned(),
        hint: "set SERVER_HOST to an address of this machine, or leave it unset for all".to_owned(),
        source,
    })?;
    let mut listeners: Vec<TcpListener> = Vec::new();
    let mut absent = None;
    for mut address in addresses {
        if let Some(first) = listeners.first().and_then(|first| first.local_addr().ok()) {
            address.set_port(first.port());
        }
        let is_twin = |other: &TcpListener| other.local_addr().is_ok_and(|other| other == address);
        if listeners.iter().any(is_twin) {
            continue;
        }
        match listen(address) {
            Ok(listener) => listeners.push(listener),
            Err(fault) if fault.kind() == io::ErrorKind::AddrNotAvailable => absent = Some(fault),
            Err(fault) => return Err(explain(address.to_string(), fault)),
        }
    }
    if listeners.is_empty() {
        let source = absent.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into());
        return Err(explain(asked(), source));
    }
    Ok(listeners)
}

fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // A specific IPv6 address has no IPv4 side; only `::` does.
        socket.set_only_v6(!address.ip().is_unspecified())?;
    }
    socket.set_reuse_address(true)?; // a restart must not wait for old connections to fade
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "the kinds are many, and most say nothing")]
fn explain(address: String, source: io::Error) -> BindFault {
    let (what, hint) = match source.kind() {
        io::ErrorKind::AddrInUse => (
            "the port is in use by another process",
            "stop that process, or choose another port with SERVER_PORT",
        ),
        io::ErrorKind::PermissionDenied => {
            ("this user may not use the port", "choose a port from 1024 upwards with SERVER_PORT")
        }
        io::ErrorKind::AddrNotAvailable => (
            "this machine does not have the address",
            "set SERVER_HOST to an address of this machine, or leave it unset for all",
        ),
        _ => {
            ("the system refuses", "see the cause; SERVER_HOST and SERVER_PORT choose the address")
        }
    };
    BindFault { address, what: what.to_owned(), hint: hint.to_owned(), source }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpStream;

    use super::*;

    async fn connects(host: &str, port: u16) -> bool {
        TcpStream::connect((host, port)).await.is_ok()
    }

    #[tokio::test]
    async fn without_a_host_both_address_families_are_served() {
        let listeners = bind(None, 0).unwrap();
        let bound = listeners[0].local_addr().unwrap();
        assert!(connects("127.0.0.1", bound.port()).await);
        if bound.is_ipv6() && std::net::TcpListener::bind("[::1]:0").is_ok() {
            assert!(connects("::1", bound.port()).await);
        }
    }

    #[tokio::test]
    async fn a_port_in_use_is_named_with_a_hint() {
        let listeners = bind(Some("127.0.0.1"), 0).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        let fault = bind(Some("127.0.0.1"), port).unwrap_err();
        let text = fault.to_string();
        assert_eq!(
            text,
            format!("cannot listen on 127.0.0.1:{port}: the port is in use by another process")
        );
        assert!(fault.hint.contains("SERVER_PORT"));
        assert!(bind(None, port).is_err(), "the port is not shared with the address for all");
    }

    #[tokio::test]
    async fn a_name_is_served_on_its_addresses_and_one_port() {
        let listeners = bind(Some("localhost"), 0).unwrap();
        let port = listeners[0].local_addr().unwrap().port();
        for listener in &listeners {
            let address = listener.local_addr().unwrap();
            assert!(address.ip().is_loopback());
            assert_eq!(address.port(), port);
        }
    }

    #[tokio::test]
    async fn an_address_of_another_machine_is_refused_with_a_hint() {
        let fault = bind(Some("192.0.2.1"), 0).unwrap_err();
        assert!(fault.what.contains("does not have the address"), "{fault}");
    }
}
