use std::{net::TcpListener, os::fd::AsFd as _, thread};

use super::*;

#[test]
fn sockets_arrive_and_the_former_hears_that_they_are_served() {
    let listeners = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let mut sockets = Sockets::default();
    for listener in &listeners {
        sockets.insert(listener.as_fd().try_clone_to_owned().unwrap()).unwrap();
    }
    let (former, successor) = UnixStream::pair().unwrap();
    let giving = thread::spawn(move || give(&former, &sockets));
    let mut taken = Sockets::default();
    while let Some(socket) = wire::receive(&successor).unwrap() {
        taken.insert(socket).unwrap();
    }
    assert_eq!(taken.len(), 3);
    for listener in &listeners {
        assert!(taken.take_tcp(listener.local_addr().unwrap()).is_some());
    }
    assert!(!giving.is_finished(), "the former waits");
    Former(successor).confirm().unwrap();
    giving.join().unwrap().unwrap();
}

#[test]
fn a_successor_that_breaks_off_leaves_everything_as_it_was() {
    let (former, successor) = UnixStream::pair().unwrap();
    drop(successor);
    assert!(give(&former, &Sockets::default()).is_err());
}

#[tokio::test]
async fn a_path_is_for_its_user_alone_and_goes_with_the_process() {
    let path = std::env::temp_dir().join(format!("pailou-handover-{}", std::process::id()));
    assert!(take(&path).unwrap().is_none(), "nobody is there");
    let former = HandoverSocket::new(&path).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let mut successor = HandoverSocket::new(&path).unwrap();
    successor.handed = true;
    drop(successor);
    assert!(path.exists());
    drop(former);
    assert!(take(&path).unwrap().is_none());
    assert!(!path.exists());
}
