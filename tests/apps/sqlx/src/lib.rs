//! A handler that writes messages to the application's own SQLite database with sqlx.

use async_trait::async_trait;
use offhook::{Delivery, Event, EventHandler, HandlerError};
use sqlx::SqlitePool;

/// Writes the text of each message to the table `messages`.
#[derive(Debug)]
pub struct Messages(pub SqlitePool);

#[async_trait]
impl EventHandler for Messages {
    async fn handle(&self, event: &Event, delivery: &Delivery) -> Result<(), HandlerError> {
        if let Event::Message(message) = event {
            // An event may be handed over again.
            sqlx::query("INSERT OR IGNORE INTO messages (id, text) VALUES (?, ?)")
                .bind(delivery.id().to_string())
                .bind(message.message.as_deref())
                .execute(&self.0)
                .await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use offhook::signature::Secret;
    use offhook::testing::{self, TestEvent};
    use offhook::{Offhook, Source};
    use sqlx::sqlite::SqlitePoolOptions;

    use super::*;

    #[actix_rt::test]
    async fn a_message_is_in_the_applications_database() {
        // Each connection to `:memory:` is a database of its own.
        let pool = SqlitePoolOptions::new().max_connections(1);
        let pool = pool.connect("sqlite::memory:").await.unwrap();
        sqlx::query("CREATE TABLE messages (id TEXT PRIMARY KEY, text TEXT)")
            .execute(&pool)
            .await
            .unwrap();
        let secret = Secret::new("a-long-secret").unwrap();
        let server = testing::start(
            Offhook::builder()
                .source(Source::new("gateway").secret(secret.clone()))
                .handler("messages", Messages(pool.clone())),
        )
        .await;
        let request = TestEvent::message("+1234567890", "Hello!").sign(&secret);
        assert_eq!(request.send(server.public_address()).await.status, 200);
        let text: String = sqlx::query_scalar("SELECT text FROM messages")
            .fetch_one(&pool)
            .await
            .unwrap();
        assert_eq!(text, "Hello!");
        server.stop().await;
    }
}
