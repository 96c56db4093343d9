//! The whole wire, from the real client to a fake daemon and back.

use futures_util::StreamExt;
use zbus::MessageStream;
use zbus::message::Message;

use crate::bus::fake::Fake;

mod hostile;
mod promise;
mod signals;
mod typed;

/// What an honest client says first: its uid in digits, each as hex.
fn greeting() -> String {
    use std::os::unix::fs::MetadataExt;
    let uid = std::fs::metadata("/proc/self").unwrap().uid().to_string();
    let hex: String = uid.bytes().map(|digit| format!("{digit:02x}")).collect();
    format!("\0AUTH EXTERNAL {hex}\r\nBEGIN\r\n")
}

/// A bare connection that says what it likes.
async fn raw(fake: &Fake) -> MessageStream {
    let stream = std::os::unix::net::UnixStream::connect(fake.socket()).unwrap();
    zbus::connection::Builder::unix_stream(stream)
        .p2p()
        .build_message_stream()
        .await
        .unwrap()
}

fn call<'a>(
    path: &'a str,
    interface: Option<&'a str>,
    member: &'a str,
) -> zbus::message::Builder<'a> {
    let builder = Message::method_call(path, member);
    match interface {
        Some(interface) => builder.interface(interface),
        None => builder,
    }
}

/// Sends and returns the reply: the error's name, or `ok`.
async fn outcome(stream: &mut MessageStream, message: &Message) -> (String, Message) {
    zbus::Connection::from(&*stream)
        .send(message)
        .await
        .unwrap();
    let reply = stream.next().await.unwrap().unwrap();
    assert_eq!(
        reply.header().reply_serial(),
        Some(message.primary_header().serial_num())
    );
    let error = reply.header().error_name().map(|name| {
        let name = name.as_str();
        name.rsplit('.').next().unwrap_or(name).to_owned()
    });
    (error.unwrap_or_else(|| "ok".to_owned()), reply)
}
