import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.CommitMode;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/** Reads a topic with Confluent's Parallel Consumer. */
public final class Peer {
    private static final int CONCURRENCY = 100;

    public static void main(String[] args) throws Exception {
        Job job = new Job(args);
        boolean ordered = job.flag("mode").equals("partition");
        // In the order of partitions it hands out one record of a partition at a time, so a
        // batch could only be of different partitions, which would then wait for each other.
        int batch = ordered ? 1 : (int) job.number("batch", 100);
        List<String> settings = new ArrayList<>(List.of(
            ordered
                ? "ordering PARTITION, maxConcurrency 100, batchSize 1: it cannot batch inside a partition, so one record a call"
                : "ordering UNORDERED, maxConcurrency 100, batchSize of the run: it works at many records of a partition at once, so nothing is in order",
            "PERIODIC_CONSUMER_ASYNCHRONOUS with commitInterval 1s, as all others",
            "max.poll.records=5000: fewer polls than with 500",
            "JVM with -Xmx1g, the garbage collector it chooses itself"));

        Properties p = new Properties();
        p.put("bootstrap.servers", job.flag("brokers"));
        p.put("group.id", job.flag("group"));
        p.put("auto.offset.reset", "earliest");
        p.put("enable.auto.commit", "false");
        p.put("max.poll.records", "5000");
        p.put("partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
        p.put("key.deserializer", ByteArrayDeserializer.class.getName());
        p.put("value.deserializer", ByteArrayDeserializer.class.getName());

        long poison = job.number("poison", -1);
        Duration retry = Duration.ofNanos(Math.max(1_000_000, job.flag("retry").isEmpty() ? 1_000_000_000L : job.nanos("retry")));
        long retries = job.number("retries", 3);
        if (poison >= 0) {
            settings.add(ordered
                ? "the function gives a record up after 3 retries (getNumberOfFailedAttempts), as its documentation shows"
                : "retries for ever after 1s, which is its default: records that fail wait, and others go on");
        }
        var options = ParallelConsumerOptions.<byte[], byte[]>builder()
            .consumer(new KafkaConsumer<>(p))
            .ordering(ordered ? ProcessingOrder.PARTITION : ProcessingOrder.UNORDERED)
            .maxConcurrency(CONCURRENCY)
            .batchSize(batch)
            .commitMode(CommitMode.PERIODIC_CONSUMER_ASYNCHRONOUS)
            .commitInterval(Duration.ofSeconds(1))
            .defaultMessageRetryDelay(retry)
            .build();
        var processor = ParallelStreamProcessor.createEosStreamProcessor(options);
        processor.subscribe(List.of(job.flag("topic")));
        processor.poll(context -> {
            if (ordered && poison >= 0 && context.getSingleRecord().getNumberOfFailedAttempts() > retries) {
                job.giveUp();
                return;
            }
            try {
                job.call(context.getConsumerRecordsFlattened());
            } catch (InterruptedException e) {
                Thread.currentThread().interrupt();
                throw new IllegalStateException(e);
            }
        });
        job.await();
        Thread closing = new Thread(() -> processor.closeDontDrainFirst(Duration.ofSeconds(20)));
        closing.setDaemon(true);
        closing.start();
        closing.join(25_000);
        System.out.println(job.report(Map.of(
            "java", System.getProperty("java.version"),
            "io.confluent.parallelconsumer:parallel-consumer-core", "0.5.3.2",
            "org.apache.kafka:kafka-clients", "3.7.0"), settings));
        System.out.flush();
        Runtime.getRuntime().halt(0); // whatever it left running
    }
}
