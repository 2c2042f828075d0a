/* Two replicas, the Kubernetes API between them, and what can come between: answers that are lost,
 * requests that arrive late, outages, kill -9, redeliveries, cancels, retries, and a lease that
 * passes on. Each branch of a `do` is one step of the real service that nothing can divide; between
 * any two of them a replica may be killed. README.rst says what is checked and what is left out.
 *
 * Each rule that holds a guarantee up can be broken with a -D flag, MUTATION_…, and check.py sees
 * to it that every one of those is caught.
 */
#define REPLICAS 2
#ifndef EVENTS
#define EVENTS 1
#endif
#ifndef ATTEMPTS
#define ATTEMPTS 2 /* 1 + MAX_RETRIES */
#endif
#ifndef KILLS
#define KILLS 2
#endif
#ifndef OUTAGES
#define OUTAGES 2
#endif

/* Where a build is in a replica's memory, which a kill empties. */
#define NOWHERE 0
#define RESERVED 1 /* it has a slot in the queue */
#define RECORDED 2 /* and a row in the journal */
#define QUEUED 3   /* and is acknowledged */
#define CALLING 4  /* its attempt is recorded, the request not yet sent */
#define ANSWERED 5 /* the API said that the Job is there */
#define UNKNOWN 6  /* no answer: the Job may be there, or come later */
#define HELD 7     /* the API is away, so it waits */

/* What a replica's journal says, which a kill leaves alone. */
#define NO_ROW 0
#define OPEN 1
#define HAS_JOB 2
#define DEAD 3
#define CANCELLED 4

#define AT(r, e) ((r) * EVENTS + (e))

byte memory[REPLICAS * EVENTS];
byte row[REPLICAS * EVENTS];
byte tries[REPLICAS * EVENTS];    /* attempts, as the journal counts them */
bool unwanted[REPLICAS * EVENTS]; /* cancelled while its attempt ran */

bool acknowledged[EVENTS];
byte deliveries[EVENTS];   /* deliveries to come, to either replica */
bool cancel_asked[EVENTS]; /* somebody cancels once */
bool retry_asked[EVENTS];  /* somebody asks once for a dead build to go again */

/* The API. A Job is known by its name, which comes from the event alone. */
bool api_up = true;
byte outages;
byte jobs[EVENTS]; /* Jobs of the event that exist now */
byte made[EVENTS]; /* Jobs of the event that were ever made */
bool late[EVENTS]; /* a request that nobody waits for any more is under way */
bool finished[EVENTS];
bool marked[EVENTS]; /* the Job says that its end was told */

byte holder = REPLICAS; /* of the lease, as the API has it; REPLICAS: nobody */
bool leads[REPLICAS];   /* what each replica believes of itself */
byte told_as[EVENTS];   /* the id under which the end was first told; 0: not yet */
byte kills;

inline create_job() {
#ifdef MUTATION_RANDOM_NAMES
    jobs[e]++; made[e]++
#else
    if
    :: jobs[e] == 0 -> jobs[e]++; made[e]++
    :: else /* 409, and its label names this very event */
    fi
#endif
}

/* A build on its way through one replica: acceptance, then a worker. */
proctype build(byte r; byte e) {
    do
    :: atomic { deliveries[e] > 0 && memory[AT(r, e)] == NOWHERE ->
            deliveries[e]--;
            if
            :: row[AT(r, e)] != NO_ROW -> acknowledged[e] = true /* as a duplicate */
            :: else -> memory[AT(r, e)] = RESERVED
            fi }
#ifdef MUTATION_ANSWER_FIRST
    :: atomic { memory[AT(r, e)] == RESERVED -> acknowledged[e] = true; memory[AT(r, e)] = RECORDED }
    :: atomic { memory[AT(r, e)] == RECORDED -> row[AT(r, e)] = OPEN; memory[AT(r, e)] = QUEUED }
#else
    :: atomic { memory[AT(r, e)] == RESERVED -> row[AT(r, e)] = OPEN; memory[AT(r, e)] = RECORDED }
    :: atomic { memory[AT(r, e)] == RECORDED -> acknowledged[e] = true; memory[AT(r, e)] = QUEUED }
#endif
    :: atomic { memory[AT(r, e)] == QUEUED ->
            if
            :: tries[AT(r, e)] < ATTEMPTS ->
#ifndef MUTATION_ATTEMPTS_UNRECORDED
                tries[AT(r, e)]++;
#endif
                memory[AT(r, e)] = CALLING
            :: else -> memory[AT(r, e)] = UNKNOWN /* killed in every one: look for its Job */
            fi }
    :: atomic { memory[AT(r, e)] == CALLING ->
            if
            :: api_up -> create_job(); memory[AT(r, e)] = ANSWERED
            :: api_up -> create_job(); memory[AT(r, e)] = UNKNOWN /* the answer is lost */
            :: api_up && !late[e] -> late[e] = true; memory[AT(r, e)] = UNKNOWN
            :: !api_up -> memory[AT(r, e)] = HELD;
                if
                :: tries[AT(r, e)] > 0 -> tries[AT(r, e)]-- /* an outage costs no attempt */
                :: else
                fi
            fi }
    :: atomic { memory[AT(r, e)] == HELD && api_up -> memory[AT(r, e)] = QUEUED }
    :: atomic { memory[AT(r, e)] == ANSWERED && !unwanted[AT(r, e)] ->
            row[AT(r, e)] = HAS_JOB; memory[AT(r, e)] = NOWHERE }
    :: atomic { memory[AT(r, e)] == ANSWERED && unwanted[AT(r, e)] && api_up ->
            jobs[e] = 0; unwanted[AT(r, e)] = false;
            row[AT(r, e)] = CANCELLED; memory[AT(r, e)] = NOWHERE }
    :: atomic { memory[AT(r, e)] == UNKNOWN && tries[AT(r, e)] < ATTEMPTS ->
            memory[AT(r, e)] = QUEUED }
#ifdef MUTATION_NO_LAST_LOOK
    :: atomic { memory[AT(r, e)] == UNKNOWN && tries[AT(r, e)] >= ATTEMPTS ->
            assert(jobs[e] == 0); row[AT(r, e)] = DEAD; memory[AT(r, e)] = NOWHERE }
#else
    :: atomic { memory[AT(r, e)] == UNKNOWN && tries[AT(r, e)] >= ATTEMPTS && api_up ->
            if
            :: jobs[e] > 0 -> memory[AT(r, e)] = ANSWERED
            :: else -> assert(jobs[e] == 0); row[AT(r, e)] = DEAD; memory[AT(r, e)] = NOWHERE
            fi }
#endif
    :: atomic { !cancel_asked[e] && memory[AT(r, e)] == QUEUED && tries[AT(r, e)] == 0 ->
            cancel_asked[e] = true; row[AT(r, e)] = CANCELLED; memory[AT(r, e)] = NOWHERE }
    :: atomic { !cancel_asked[e] && memory[AT(r, e)] == CALLING ->
            cancel_asked[e] = true; unwanted[AT(r, e)] = true }
    :: atomic { !retry_asked[e] && row[AT(r, e)] == DEAD && memory[AT(r, e)] == NOWHERE ->
            retry_asked[e] = true; row[AT(r, e)] = OPEN; tries[AT(r, e)] = 0;
            memory[AT(r, e)] = QUEUED }
    od
}

/* The leader tells of ends, and marks the Job once the sink has taken the event. */
proctype notifier(byte r) {
    byte e, id;
    do
    :: atomic { api_up && holder == REPLICAS -> holder = r; leads[r] = true }
    :: atomic { leads[r] -> leads[r] = false; /* it could not renew: it stops before others may */
            if
            :: holder == r -> holder = REPLICAS
            :: else
            fi }
#ifdef MUTATION_NO_MARGIN
    :: atomic { api_up && holder != r && holder != REPLICAS -> holder = r; leads[r] = true }
#endif
    :: atomic { leads[r] && finished[0] && jobs[0] > 0 && !marked[0] ->
            assert(!(leads[0] && leads[1]));
#ifdef MUTATION_IDS_BY_REPLICA
            id = r + 1;
#else
            id = 1; /* event hash and state: whoever tells */
#endif
            assert(told_as[0] == 0 || told_as[0] == id);
            told_as[0] = id }
    :: atomic { api_up && leads[r] && told_as[0] != 0 && !marked[0] -> marked[0] = true }
    od
}

/* kill -9 at any moment, and the start after it: what the journal has open is queued again. */
proctype killer(byte r) {
    byte e;
    do
    :: atomic { kills < KILLS ->
            kills++;
            leads[r] = false;
            if
            :: holder == r -> holder = REPLICAS /* the lease lapses */
            :: else
            fi;
            for (e : 0 .. EVENTS - 1) {
                unwanted[AT(r, e)] = false;
                memory[AT(r, e)] = (row[AT(r, e)] == OPEN -> QUEUED : NOWHERE)
            } }
    od
}

proctype api() {
    byte e;
    do
    :: atomic { api_up && outages < OUTAGES -> outages++; api_up = false }
    :: atomic { !api_up -> api_up = true }
    :: atomic { late[0] && api_up -> late[0] = false; e = 0; create_job() }
    :: atomic { late[0] -> late[0] = false } /* it never arrives */
    :: atomic { jobs[0] > 0 && !finished[0] -> finished[0] = true }
#if EVENTS > 1
    :: atomic { late[1] && api_up -> late[1] = false; e = 1; create_job() }
    :: atomic { late[1] -> late[1] = false }
#endif
    od
}

/* The broker sends again what was not acknowledged, and now and then what was. */
proctype broker(byte e) {
    byte sent;
    do
    :: atomic { deliveries[e] == 0 && !acknowledged[e] -> deliveries[e] = 1 }
    :: atomic { deliveries[e] == 0 && acknowledged[e] && sent < 2 -> sent++; deliveries[e] = 1 }
    od
}

init {
    byte e;
    atomic {
#ifdef LEASE
        jobs[0] = 1; made[0] = 1; finished[0] = true;
        run notifier(0); run notifier(1);
#else
        for (e : 0 .. EVENTS - 1) {
            run broker(e); run build(0, e); run build(1, e)
        }
#endif
        run killer(0); run killer(1); run api()
    }
}

#define RECORDED_SOMEWHERE(e) (row[AT(0, e)] != NO_ROW || row[AT(1, e)] != NO_ROW)

ltl safe { []
    ((jobs[0] <= 1 && jobs[EVENTS - 1] <= 1) /* one event, one Job: never two at a time */
    /* nor one after the other, unless somebody cancelled in between or asked for it again */
    && (made[0] <= 1 || cancel_asked[0] || retry_asked[0])
    /* what was acknowledged is on record: it waits, has a Job, or is a failure that is told */
    && (!acknowledged[0] || RECORDED_SOMEWHERE(0))
    /* attempts are bounded, whatever is killed */
    && tries[AT(0, 0)] <= ATTEMPTS && tries[AT(1, 0)] <= ATTEMPTS)
}
/* Every accepted build ends, if outages do. */
ltl ends { [] (row[AT(0, 0)] == OPEN -> <> (row[AT(0, 0)] != OPEN)) }
