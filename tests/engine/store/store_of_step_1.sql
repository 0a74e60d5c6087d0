BEGIN TRANSACTION;
CREATE TABLE answer (
        id INTEGER PRIMARY KEY,
        turn_id INTEGER NOT NULL REFERENCES turn ON DELETE CASCADE,
        engine TEXT NOT NULL,
        finished INTEGER NOT NULL,
        body TEXT NOT NULL,
        updated REAL NOT NULL
    ) STRICT
    ;
INSERT INTO "answer" VALUES(1,1,'lora',1,'{"question":"What is it?","engine":"lora","mode":"memory","status":"exact","text":"Um balcão de madeira, it''s 2 m wide.","stop_reason":"complete","sources":[{"product":{"uid":"012X","title":"Title","description":"Words [/b]","original":"W&amp;rds"},"score":0.5}],"nearest":[],"by_counter":false,"verbatim":false,"fidelity":0.25,"timing":{"retrieval":1.0,"first_token":2.0,"total":3.0},"tokens":{"prompt":4,"completion":5},"notice":"note","problem":{"message":"why","remedy":"what"}}',1.79542354890716576581e+09);
INSERT INTO "answer" VALUES(2,1,'base',1,'{"question":"What is it?","engine":"base","mode":"memory","status":"exact","text":"A second opinion","stop_reason":"complete","sources":[{"product":{"uid":"012X","title":"Title","description":"Words [/b]","original":"W&amp;rds"},"score":0.5}],"nearest":[],"by_counter":false,"verbatim":false,"fidelity":0.25,"timing":{"retrieval":1.0,"first_token":2.0,"total":3.0},"tokens":{"prompt":4,"completion":5},"notice":"note","problem":{"message":"why","remedy":"what"}}',1.79542354891333436964e+09);
INSERT INTO "answer" VALUES(3,2,'lora',0,'{"question":"And the café\nnext door?","engine":"lora","mode":"memory","status":"exact","text":"Half an ans","stop_reason":"complete","sources":[{"product":{"uid":"012X","title":"Title","description":"Words [/b]","original":"W&amp;rds"},"score":0.5}],"nearest":[],"by_counter":false,"verbatim":false,"fidelity":0.25,"timing":{"retrieval":1.0,"first_token":2.0,"total":3.0},"tokens":{"prompt":4,"completion":5},"notice":"note","problem":{"message":"why","remedy":"what"}}',1.79542354891459131241e+09);
INSERT INTO "answer" VALUES(4,3,'lora',1,'{"question":"O Jardim de Inverno","engine":"lora","mode":"memory","status":"exact","text":"Uma família herda uma estufa.","stop_reason":"complete","sources":[{"product":{"uid":"012X","title":"Title","description":"Words [/b]","original":"W&amp;rds"},"score":0.5}],"nearest":[],"by_counter":false,"verbatim":false,"fidelity":0.25,"timing":{"retrieval":1.0,"first_token":2.0,"total":3.0},"tokens":null,"notice":"note","problem":{"message":"why","remedy":"what"}}',1.79542354892134046551e+09);
CREATE TABLE conversation (
        id INTEGER PRIMARY KEY,
        title TEXT NOT NULL,
        created REAL NOT NULL,
        updated REAL NOT NULL
    ) STRICT
    ;
INSERT INTO "conversation" VALUES(1,'What is it?',1.79542354890305638315e+09,1.79542354891369271277e+09);
INSERT INTO "conversation" VALUES(2,'O Jardim de Inverno',1.79542354891728544235e+09,1.79542354891728544235e+09);
CREATE TABLE turn (
        id INTEGER PRIMARY KEY,
        conversation_id INTEGER NOT NULL REFERENCES conversation ON DELETE CASCADE,
        question TEXT NOT NULL,
        asked REAL NOT NULL
    ) STRICT
    ;
INSERT INTO "turn" VALUES(1,1,'What is it?',1.79542354890305638315e+09);
INSERT INTO "turn" VALUES(2,1,'And the café
next door?',1.79542354891369271277e+09);
INSERT INTO "turn" VALUES(3,2,'O Jardim de Inverno',1.79542354891728544235e+09);
CREATE INDEX conversation_by_update ON conversation (updated);
CREATE INDEX turn_by_conversation ON turn (conversation_id, id);
CREATE INDEX answer_by_turn ON answer (turn_id, id);
COMMIT;
PRAGMA user_version = 1;
