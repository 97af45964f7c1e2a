//! QEMU Machine Protocol: one JSON object to a line, commands answered in
//! order, events in between.
//! <https://www.qemu.org/docs/master/interop/qmp-spec.html>

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::io::{
    AsyncBufRead, AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader,
};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

/// The longest line that is taken from QEMU, bytes.
const LONGEST_LINE: u64 = 1 << 20;

/// Why a command has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum QmpError {
    /// QEMU said no.
    #[error("QEMU refused {command}: {message}")]
    Refused {
        /// The command.
        command: String,
        /// QEMU's words.
        message: String,
    },
    /// The connection is gone, and QEMU most likely with it.
    #[error("QEMU is gone")]
    Gone,
}

/// Something that QEMU told unasked.
#[derive(Clone, Debug, PartialEq, Deserialize)]
pub(super) struct Event {
    /// Its name, `"SHUTDOWN"`.
    #[serde(rename = "event")]
    pub(super) name: String,
    /// What belongs to it.
    #[serde(default)]
    pub(super) data: Value,
}

/// What a line from QEMU is.
#[derive(Debug, PartialEq)]
enum Message {
    Greeting,
    Answer(Result<Value, String>),
    Event(Event),
}

fn parse(line: &str) -> Result<Message, serde_json::Error> {
    #[derive(Deserialize)]
    struct Failure {
        desc: String,
    }
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Wire {
        Answer {
            #[serde(rename = "return")]
            value: Value,
        },
        Error {
            error: Failure,
        },
        Event(Event),
        Greeting {
            #[serde(rename = "QMP")]
            _greeting: Value,
        },
    }
    Ok(match serde_json::from_str(line)? {
        Wire::Answer { value } => Message::Answer(Ok(value)),
        Wire::Error { error } => Message::Answer(Err(error.desc)),
        Wire::Event(event) => Message::Event(event),
        Wire::Greeting { .. } => Message::Greeting,
    })
}

type Waiting = Arc<Mutex<Option<VecDeque<oneshot::Sender<Result<Value, String>>>>>>;

/// A connection to QEMU's monitor. Its reading task ends with it.
pub(super) struct Qmp {
    writer: tokio::sync::Mutex<Box<dyn AsyncWrite + Send + Unpin>>,
    /// Who waits for an answer, in order; `None` when no more come.
    waiting: Waiting,
    reader: JoinHandle<()>,
}

impl Qmp {
    /// Begins to talk. Events arrive in order at the receiver, which ends when
    /// the connection does.
    pub(super) fn new(
        reader: impl AsyncRead + Send + Unpin + 'static,
        writer: impl AsyncWrite + Send + Unpin + 'static,
    ) -> (Self, mpsc::UnboundedReceiver<Event>) {
        // Unbounded, because a full queue would hold up the answers behind it;
        // events are few, and a guest cannot cause many.
        let (sender, events) = mpsc::unbounded_channel();
        let waiting: Waiting = Arc::new(Mutex::new(Some(VecDeque::new())));
        let reader = tokio::spawn(read(BufReader::new(reader), waiting.clone(), sender));
        let qmp = Self {
            writer: tokio::sync::Mutex::new(Box::new(writer)),
            waiting,
            reader,
        };
        (qmp, events)
    }

    /// Executes a command and returns its answer.
    pub(super) async fn execute(&self, command: &str) -> Result<Value, QmpError> {
        self.execute_with(command, json!({})).await
    }

    /// Executes a command with arguments and returns its answer.
    pub(super) async fn execute_with(
        &self,
        command: &str,
        arguments: Value,
    ) -> Result<Value, QmpError> {
        let mut line = json!({ "execute": command, "arguments": arguments }).to_string();
        line.push('\n');
        let (sender, answer) = oneshot::channel();
        {
            // Held while writing, so that answers are awaited in the order in
            // which commands go out.
            let mut writer = self.writer.lock().await;
            match &mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner) {
                Some(waiting) => waiting.push_back(sender),
                None => return Err(QmpError::Gone),
            }
            // A failed write shows as the reader's end, which answers everyone.
            let _ = writer.write_all(line.as_bytes()).await;
            let _ = writer.flush().await;
        }
        match answer.await {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(message)) => Err(QmpError::Refused {
                command: command.to_owned(),
                message,
            }),
            Err(_) => Err(QmpError::Gone),
        }
    }
}

impl Drop for Qmp {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

async fn read(
    mut reader: impl AsyncBufRead + Unpin,
    waiting: Waiting,
    events: mpsc::UnboundedSender<Event>,
) {
    let mut line = String::new();
    loop {
        line.clear();
        match (&mut reader).take(LONGEST_LINE).read_line(&mut line).await {
            Ok(0) | Err(_) => break,
            Ok(_) => {}
        }
        match parse(line.trim()) {
            Ok(Message::Answer(answer)) => {
                let next = waiting
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .as_mut()
                    .and_then(VecDeque::pop_front);
                // Whoever asked may have stopped waiting.
                let _ = next.map(|next| next.send(answer));
            }
            Ok(Message::Event(event)) => {
                let _ = events.send(event);
            }
            Ok(Message::Greeting) => {}
            Err(error) => tracing::debug!(%error, line = line.trim(), "no QMP"),
        }
    }
    *waiting.lock().unwrap_or_else(PoisonError::into_inner) = None;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::duplex;

    #[test]
    fn every_kind_of_line_is_told_apart() {
        let greeting = r#"{"QMP": {"version": {}, "capabilities": []}}"#;
        assert_eq!(parse(greeting).unwrap(), Message::Greeting);
        let answer = r#"{"return": {}}"#;
        assert_eq!(parse(answer).unwrap(), Message::Answer(Ok(json!({}))));
        let refused = r#"{"error": {"class": "GenericError", "desc": "no"}}"#;
        assert_eq!(parse(refused).unwrap(), Message::Answer(Err("no".into())));
        let event =
            r#"{"timestamp": {"seconds": 1}, "event": "SHUTDOWN", "data": {"guest": true}}"#;
        let Message::Event(event) = parse(event).unwrap() else {
            panic!("no event");
        };
        assert_eq!(event.name, "SHUTDOWN");
        assert_eq!(event.data["guest"], true);
        let Message::Event(bare) = parse(r#"{"event": "STOP"}"#).unwrap() else {
            panic!("no event");
        };
        assert_eq!(bare.data, Value::Null);
    }

    proptest! {
        #[test]
        fn any_line_is_a_message_or_an_error(line in "\\PC{0,80}") {
            let _ = parse(&line);
        }
    }

    #[tokio::test]
    async fn answers_come_in_order_and_events_in_between() {
        let (near, far) = duplex(4096);
        let (reader, writer) = tokio::io::split(near);
        let (qmp, mut events) = Qmp::new(reader, writer);
        let server = tokio::spawn(async move {
            let (reader, mut writer) = tokio::io::split(far);
            let mut lines = BufReader::new(reader).lines();
            let mut asked = Vec::new();
            while asked.len() < 2 {
                let line = lines.next_line().await.unwrap().unwrap();
                let command: Value = serde_json::from_str(&line).unwrap();
                asked.push(command["execute"].as_str().unwrap().to_owned());
            }
            let reply = format!(
                "{{\"return\": \"{}\"}}\n{{\"event\": \"STOP\"}}\n{{\"error\": {{\"desc\": \"{}\"}}}}\n",
                asked[0], asked[1]
            );
            writer.write_all(reply.as_bytes()).await.unwrap();
        });
        let (first, second) = tokio::join!(qmp.execute("one"), qmp.execute("two"));
        assert_eq!(first.unwrap(), "one");
        assert_eq!(
            second.unwrap_err(),
            QmpError::Refused {
                command: "two".into(),
                message: "two".into()
            }
        );
        assert_eq!(events.recv().await.unwrap().name, "STOP");
        server.await.unwrap();
        // The far side is gone: nobody waits for ever.
        assert_eq!(qmp.execute("three").await.unwrap_err(), QmpError::Gone);
        assert_eq!(events.recv().await, None);
    }
}
