"""Topics as receivers: one JSON an alert, acknowledged by a real broker, under a key that never changes."""

from __future__ import annotations

import json
import time
from datetime import timedelta

import pytest
from paho.mqtt import client as mqtt

from pipeline.errors import ConfigError, DeliveryFailed
from tests.services.programs import free_port

SOON = timedelta(seconds=10)


@pytest.fixture
def heard(mosquitto):
    """What a subscriber has heard, by topic."""
    found = []
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
    client.on_message = lambda *told: found.append((told[-1].topic, json.loads(told[-1].payload)))
    subscribed = []
    client.on_subscribe = lambda *_: subscribed.append(True)
    client.connect("127.0.0.1", mosquitto.port)
    client.subscribe("alerts/#", qos=1)
    client.loop_start()
    wait(lambda: subscribed)
    yield found
    client.disconnect()
    client.loop_stop()


def wait(until):
    ends = time.monotonic() + 20
    while not until() and time.monotonic() < ends:
        time.sleep(0.02)
    assert until()


def test_an_alert_is_published_to_a_topic_of_its_stream(mosquitto, heard, message):
    from pipeline.alerts.mqtt_receiver import MqttReceiver

    receiver = MqttReceiver(mosquitto.url, "alerts/{stream}/{severity}", SOON)
    receiver.send(message(thread="abc"))
    receiver.send(message(thread="abc"))
    wait(lambda: len(heard) == 2)
    assert [topic for topic, _ in heard] == ["alerts/pump_station/high"] * 2
    assert [body["data"]["key"] for _, body in heard] == ["0123abcd-firing"] * 2
    assert (heard[0][1]["type"], heard[0][1]["data"]["thread"]) == ("anomaly.firing", "abc")


def test_an_mqtt_broker_that_is_away_is_tried_again(message):
    from pipeline.alerts.mqtt_receiver import MqttReceiver

    with pytest.raises(DeliveryFailed, match="ConnectionRefusedError"):
        MqttReceiver(f"mqtt://127.0.0.1:{free_port()}", "alerts", SOON).send(message())
    with pytest.raises(ConfigError, match="not the address of a broker"):
        MqttReceiver("http://x", "alerts", SOON)


def test_an_alert_is_written_to_a_topic_of_kafka_keyed_by_its_incident(kafka_broker, message):
    from confluent_kafka import Consumer

    from pipeline.alerts.kafka_receiver import KafkaReceiver

    topic = kafka_broker.topic()
    receiver = KafkaReceiver(kafka_broker.servers, topic, {}, SOON)
    receiver.send(message(thread="abc"))
    receiver.send(message(thread="abc", event="resolved", key="0123abcd-resolved"))
    consumer = Consumer(
        {"bootstrap.servers": kafka_broker.servers, "group.id": "test", "auto.offset.reset": "earliest"}
    )
    consumer.subscribe([topic])
    got = []
    wait(lambda: got.extend(one for one in consumer.consume(2, 0.5) if not one.error()) or len(got) == 2)
    consumer.close()
    assert [one.key() for one in got] == [b"abc", b"abc"]
    assert [dict(one.headers())["webhook-id"] for one in got] == [b"0123abcd-firing", b"0123abcd-resolved"]
    assert json.loads(got[1].value())["type"] == "anomaly.resolved"


def test_a_kafka_that_is_away_is_tried_again(message):
    from pipeline.alerts.kafka_receiver import KafkaReceiver

    with pytest.raises(DeliveryFailed, match="Kafka did not take it"):
        KafkaReceiver(f"127.0.0.1:{free_port()}", "alerts", {}, timedelta(seconds=1)).send(message())
