import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Base64;
import java.util.BitSet;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.clients.consumer.ConsumerRecord;

/** What the package job is for the contenders in Go: the same function, the same check, the same report. */
final class Job {
    private static final class Lane {
        final BitSet handled = new BitSet();
        final List<long[]> spans = new ArrayList<>();
        long highest = -1, last, again, late;
    }

    private final Map<String, String> flags = new HashMap<>();
    private final long began = System.nanoTime();
    private final CountDownLatch done = new CountDownLatch(1);
    private final AtomicBoolean ending = new AtomicBoolean();
    private final AtomicLong first = new AtomicLong();
    private final AtomicLong calls = new AtomicLong(), failed = new AtomicLong(), count = new AtomicLong(), givenUp = new AtomicLong();
    private final Lane[] lanes;
    private final List<Double> latencies = new ArrayList<>();
    private final long records, function, poison, cut;
    private final boolean detail, latency;
    private volatile long ended, endCount;

    Job(String[] args) {
        for (String arg : args) {
            String[] parts = arg.split("=", 2);
            flags.put(parts[0].substring(1), parts.length > 1 ? parts[1] : "true");
        }
        records = number("records", 0);
        poison = number("poison", -1);
        function = nanos("function");
        cut = nanos("cut");
        detail = flags.containsKey("detail");
        latency = flags.containsKey("latency");
        lanes = new Lane[(int) number("partitions", 0)];
        Arrays.setAll(lanes, i -> new Lane());
        daemon(() -> {
            try {
                while (true) {
                    int c = System.in.read();
                    if (c < 0 || c == '\n') {
                        break;
                    }
                }
            } catch (java.io.IOException e) {
                // The parent is gone, which is a reason to end too.
            }
            end();
        });
    }

    private static void daemon(Runnable work) {
        Thread t = new Thread(work);
        t.setDaemon(true);
        t.start();
    }

    String flag(String name) {
        return flags.getOrDefault(name, "");
    }

    long number(String name, long otherwise) {
        return flags.containsKey(name) ? Long.parseLong(flags.get(name)) : otherwise;
    }

    /** A duration as Go writes it, of hours, minutes, seconds, milliseconds and microseconds. */
    long nanos(String name) {
        long sum = 0;
        var m = java.util.regex.Pattern.compile("([0-9.]+)(h|ms|m|s|µs)").matcher(flag(name));
        while (m.find()) {
            double unit = Map.of("h", 3600e9, "m", 60e9, "s", 1e9, "ms", 1e6, "µs", 1e3).get(m.group(2));
            sum += (long) (Double.parseDouble(m.group(1)) * unit);
        }
        return sum;
    }

    void await() throws InterruptedException {
        done.await();
    }

    void giveUp() {
        givenUp.incrementAndGet();
    }

    private void end() {
        if (ending.compareAndSet(false, true)) {
            endCount = count.get();
            ended = System.nanoTime();
            done.countDown();
        }
    }

    private void begin() {
        if (!first.compareAndSet(0, System.nanoTime())) {
            return;
        }
        System.out.println("started");
        System.out.flush();
        if (cut > 0) {
            daemon(() -> {
                try {
                    Thread.sleep(cut / 1_000_000);
                } catch (InterruptedException e) {
                    return; // nobody does that
                }
                end();
            });
        }
    }

    /** The function that all contenders call. */
    void call(List<ConsumerRecord<byte[], byte[]>> batch) throws InterruptedException {
        calls.incrementAndGet();
        if (first.get() == 0) {
            begin();
        }
        if (latency) {
            Instant now = Instant.now();
            long nanos = now.getEpochSecond() * 1_000_000_000L + now.getNano();
            synchronized (latencies) {
                for (var r : batch) {
                    long sent = ByteBuffer.wrap(r.value()).getLong();
                    if (sent > 0) {
                        latencies.add((nanos - sent) / 1e6);
                    }
                }
            }
        }
        if (function > 0) {
            Thread.sleep(function / 1_000_000, (int) (function % 1_000_000));
        }
        if (poison >= 0) {
            for (var r : batch) {
                if (r.offset() == poison) {
                    failed.incrementAndGet();
                    throw new IllegalStateException("there is a poison record in this call");
                }
            }
        }
        long now = System.nanoTime();
        long fresh = 0;
        for (var r : batch) {
            Lane l = lanes[r.partition()];
            synchronized (l) {
                int offset = (int) r.offset();
                if (l.handled.get(offset)) {
                    l.again++;
                } else {
                    l.handled.set(offset);
                    fresh++;
                    if (offset < l.highest) {
                        l.late++;
                    }
                    l.highest = Math.max(l.highest, offset);
                }
                if (detail && l.last != now) {
                    long ms = System.currentTimeMillis();
                    if (!l.spans.isEmpty() && now - l.last < 100_000_000L) {
                        l.spans.get(l.spans.size() - 1)[1] = ms;
                    } else {
                        l.spans.add(new long[] {ms, ms});
                    }
                }
                l.last = Math.max(l.last, now);
            }
        }
        long n = count.addAndGet(fresh);
        if (records > 0 && n >= records) {
            end();
        }
    }

    /** The report, as the contenders in Go write it. */
    String report(Map<String, String> versions, List<String> settings) {
        long start = first.get();
        boolean wasCut = records <= 0 || endCount < records;
        long last = 0, again = 0, late = 0;
        StringBuilder partitions = new StringBuilder();
        for (Lane l : lanes) {
            synchronized (l) {
                again += l.again;
                late += l.late;
                last = Math.max(last, l.last);
                if (detail) {
                    partitions.append(partitions.length() > 0 ? "," : "").append(partition(l, start));
                }
            }
        }
        StringBuilder b = new StringBuilder("{");
        b.append("\"records\":").append(endCount);
        b.append(",\"seconds\":").append(start == 0 ? 0 : ((wasCut ? ended : last) - start) / 1e9);
        b.append(",\"cut\":").append(wasCut);
        b.append(",\"wait_seconds\":").append(start == 0 ? 0 : (start - began) / 1e9);
        b.append(",\"calls\":").append(calls.get()).append(",\"failed_calls\":").append(failed.get());
        b.append(",\"duplicates\":").append(again).append(",\"out_of_order\":").append(late);
        b.append(",\"given_up\":").append(givenUp.get());
        if (latency) {
            synchronized (latencies) {
                double[] sorted = latencies.stream().mapToDouble(Double::doubleValue).sorted().toArray();
                b.append(",\"latency\":{\"count\":").append(sorted.length).append(",\"p50_ms\":").append(quantile(sorted, 0.5));
                b.append(",\"p99_ms\":").append(quantile(sorted, 0.99)).append(",\"max_ms\":").append(quantile(sorted, 1)).append("}");
            }
        }
        if (detail) {
            b.append(",\"partitions\":[").append(partitions).append("]");
        }
        b.append(",\"versions\":{");
        versions.forEach((name, version) -> b.append(b.charAt(b.length() - 1) == '{' ? "" : ",").append(quote(name)).append(":").append(quote(version)));
        b.append("},\"settings\":[");
        settings.forEach(s -> b.append(b.charAt(b.length() - 1) == '[' ? "" : ",").append(quote(s)));
        return b.append("]}").toString();
    }

    private static String partition(Lane l, long start) {
        long[] words = l.handled.toLongArray();
        ByteBuffer raw = ByteBuffer.allocate(8 * words.length).order(ByteOrder.LITTLE_ENDIAN);
        raw.asLongBuffer().put(words);
        StringBuilder b = new StringBuilder("{\"last_seconds\":").append(l.last == 0 ? 0 : (l.last - start) / 1e9);
        b.append(",\"handled\":\"").append(Base64.getEncoder().encodeToString(raw.array())).append("\",\"spans\":[");
        for (int i = 0; i < l.spans.size(); i++) {
            b.append(i > 0 ? "," : "").append("{\"from\":").append(l.spans.get(i)[0]).append(",\"to\":").append(l.spans.get(i)[1]).append("}");
        }
        return b.append("]}").toString();
    }

    private static double quantile(double[] sorted, double q) {
        int i = (int) (q * sorted.length + 0.5) - 1;
        return sorted.length == 0 ? 0 : sorted[Math.min(Math.max(i, 0), sorted.length - 1)];
    }

    private static String quote(String s) {
        return "\"" + s.replace("\\", "\\\\").replace("\"", "\\\"") + "\"";
    }
}
