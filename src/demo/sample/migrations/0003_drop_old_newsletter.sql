DROP TABLE old_newsletter;
