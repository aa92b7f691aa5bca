-- What each block of 4,096 audit ids is about, made when it is complete: questions pass over blocks
-- that cannot match. May be emptied at any time; it is made anew.
CREATE TABLE IF NOT EXISTS governance_audit_blocks (
    block  INTEGER PRIMARY KEY,
    digest BLOB NOT NULL
);

-- Ids that were deleted at the end of the audit are given again, and a digest must not speak of
-- other entries than are there: it goes with the first of its entries, whoever deletes or changes
-- that.
CREATE TRIGGER IF NOT EXISTS governance_audit_deleted AFTER DELETE ON governance_audit
BEGIN
    DELETE FROM governance_audit_blocks WHERE block = old.id >> 12;
END;

CREATE TRIGGER IF NOT EXISTS governance_audit_changed AFTER UPDATE ON governance_audit
BEGIN
    DELETE FROM governance_audit_blocks WHERE block IN (old.id >> 12, new.id >> 12);
END;
