"""The poisoned bundles of guarantee 9: each function spoils the bundle in `folder`.

`touch` is a path that any code smuggled in would create, were it ever run.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import pickle
import zipfile
from pathlib import Path

import h5py
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


class Payload:
    def __init__(self, touch: Path) -> None:
        self.touch = touch

    def __reduce__(self):
        return Path.touch, (self.touch,)


def reseal(folder: Path) -> None:
    """Make the seal fit again, as a forger would: the deeper checks have to notice."""
    path = folder / "manifest.json"
    try:
        manifest = json.loads(path.read_bytes())
        kept = sorted(
            p for p in folder.rglob("*") if p.is_file() and p.name not in {"manifest.json", "DIGEST"}
        )
        manifest["files"] = {
            str(p.relative_to(folder)): {"sha256": digest(p), "bytes": p.stat().st_size} for p in kept
        }
        path.write_text(json.dumps(manifest))
    except (OSError, ValueError):
        pass
    files = sorted(
        (str(p.relative_to(folder)), p) for p in folder.rglob("*") if p.is_file() and p.name != "DIGEST"
    )
    (folder / "DIGEST").write_text("".join(f"{digest(p)}  {name}\n" for name, p in files))


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def edit_manifest(folder: Path, **changes) -> None:
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | changes))


def edit_zip(path: Path, **members: bytes | None) -> None:
    """Replace members of a .keras file; `__` in a name stands for a dot."""
    with zipfile.ZipFile(path) as archive:
        parts: dict[str, bytes] = {n: archive.read(n) for n in archive.namelist()}
    for name, content in members.items():
        parts[name.replace("__", ".")] = (
            content if content is not None else parts.pop(name.replace("__", "."))
        )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in parts.items():
            if content is not None:
                archive.writestr(name, content)


def edit_config(path: Path, change) -> None:
    with zipfile.ZipFile(path) as archive:
        config = json.loads(archive.read("config.json"))
    change(config)
    edit_zip(path, config__json=json.dumps(config).encode())


def edit_weights(path: Path, change) -> None:
    with zipfile.ZipFile(path) as archive:
        data = io.BytesIO(archive.read("model.weights.h5"))
    with h5py.File(data, "r+") as file:
        change(file)
    edit_zip(path, model__weights__h5=data.getvalue())


def edit_graph(path: Path, change) -> None:
    model = onnx.load(path)
    change(model)
    path.write_bytes(model.SerializeToString())


def layer(config: dict, class_name: str) -> dict:
    return next(part for part in config["config"]["layers"] if part["class_name"] == class_name)


# --- pickles, HDF5, and other files that don't belong


def pickle_beside(folder, touch):
    (folder / "model.pkl").write_bytes(pickle.dumps(Payload(touch)))


def pickle_named_onnx(folder, touch):
    (folder / "model.onnx").write_bytes(pickle.dumps(Payload(touch)))


def pickle_named_keras(folder, touch):
    (folder / "model.keras").write_bytes(pickle.dumps(Payload(touch)))


def pickle_named_json(folder, touch):
    (folder / "preparer.json").write_bytes(pickle.dumps(Payload(touch)))


def h5_beside(folder, touch):
    import keras

    keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)]).save(folder / "model.h5")


def h5_named_keras(folder, touch):
    h5_beside(folder, touch)
    (folder / "model.h5").rename(folder / "model.keras")


def python_beside(folder, touch):
    (folder / "detector.py").write_text(f"open({str(touch)!r}, 'w')")


def hidden_file(folder, touch):
    (folder / ".env").write_text("A=1")


def extra_model(folder, touch):
    (folder / "other.onnx").write_bytes((folder / "model.onnx").read_bytes())


def extra_folder(folder, touch):
    (folder / "assets").mkdir()


def link_out(folder, touch):
    (folder / "model.onnx").unlink()
    (folder / "model.onnx").symlink_to("/etc/passwd")


def linked_folder(folder, touch):
    (folder / "models").symlink_to("/etc")


def named_pipe(folder, touch):
    (folder / "preparer.json").unlink()
    os.mkfifo(folder / "preparer.json")


def missing_keras(folder, touch):
    (folder / "model.keras").unlink()


def missing_manifest(folder, touch):
    (folder / "manifest.json").unlink()


# --- code inside a .keras file


def lambda_layer(folder, touch):
    import keras

    save_with(keras.layers.Lambda(lambda x: x * 2, output_shape=(16, 3)), folder)


def custom_layer(folder, touch):
    import keras

    class Foreign(keras.layers.Layer):
        def call(self, x):
            return x

    save_with(Foreign(), folder)


def custom_cell(folder, touch):
    import keras

    class Foreign(keras.layers.LSTMCell):
        pass

    save_with(keras.layers.RNN(Foreign(3), return_sequences=True), folder)


def cell_of_keras_that_we_do_not_use(folder, touch):
    import keras

    save_with(keras.layers.RNN(keras.layers.LSTMCell(3), return_sequences=True), folder)


def save_with(strange, folder):
    import keras

    inputs = {"values": keras.Input((16, 3), name="values"), "mask": keras.Input((16, 3), name="mask")}
    keras.Model(inputs, {"reconstruction": strange(inputs["values"])}).save(folder / "model.keras")


def _in_config(found, **changes):
    def poison(folder, touch):
        edit_config(folder / "model.keras", lambda c: layer(c, found).update(changes))

    return poison


system = _in_config("Dense", module="os", class_name="system")
registered = _in_config("Dense", registered_name="elsewhere>Dense")
unknown_module = _in_config("Dense", module="keras.src.utils.file_utils")
OURS = {"module": "pipeline.models.architectures.peephole", "class_name": "PeepholeLSTMCell"}
cell_registered_elsewhere = _in_config("Dense", **OURS, registered_name="elsewhere>PeepholeLSTMCell")
cell_from_elsewhere = _in_config("Dense", **OURS | {"module": "pipeline.models.process"})
cell_registered_as_ours = _in_config("Dense", registered_name="offbeat>PeepholeLSTMCell")


def function_as_activation(folder, touch):
    call = {"module": "builtins", "class_name": "function", "config": "exec", "registered_name": "function"}
    edit_config(folder / "model.keras", lambda c: layer(c, "Dense")["config"].update(activation=call))


def lambda_in_text(folder, touch):
    code = {"class_name": "__lambda__", "config": {"value": "4wEAAAAA"}}
    edit_config(folder / "model.keras", lambda c: layer(c, "Dense")["config"].update(kernel_initializer=code))


def unknown_activation(folder, touch):
    edit_config(folder / "model.keras", lambda c: layer(c, "Dense")["config"].update(activation="os.system"))


def regularizer(folder, touch):
    edit_config(
        folder / "model.keras", lambda c: layer(c, "Dense")["config"].update(bias_regularizer="elsewhere")
    )


def compiled_loss(folder, touch):
    loss = {"class_name": "function", "module": "evil", "config": "loss"}
    edit_config(folder / "model.keras", lambda c: c.update(compile_config={"loss": loss}))


def nested_model(folder, touch):
    def change(config):
        inner = {"module": "keras.layers", "class_name": "TFSMLayer", "config": {"filepath": "/tmp/x"}}
        config["config"]["layers"].append(inner)

    edit_config(folder / "model.keras", change)


def _outputs(change):
    def poison(folder, touch):
        edit_config(folder / "model.keras", lambda c: change(c["config"]["output_layers"]))

    return poison


keras_without_reconstruction = _outputs(lambda outputs: outputs.pop("reconstruction"))
keras_view_nobody_knows = _outputs(lambda outputs: outputs.update(oracle=outputs["reconstruction"]))


def keras_unnamed_outputs(folder, touch):
    edit_config(
        folder / "model.keras", lambda c: c["config"].update(output_layers=[["reconstruction", 0, 0]])
    )


# --- archives that are not what they say


def zip_slip(folder, touch):
    with zipfile.ZipFile(folder / "model.keras", "a") as archive:
        archive.writestr("../../../../" + str(touch), "here")


def zip_absolute(folder, touch):
    with zipfile.ZipFile(folder / "model.keras", "a") as archive:
        archive.writestr(str(touch), "here")


def zip_link(folder, touch):
    info = zipfile.ZipInfo("assets/link")
    info.external_attr = 0o120777 << 16
    with zipfile.ZipFile(folder / "model.keras", "a") as archive:
        archive.writestr(info, "/etc/passwd")


def zip_twice(folder, touch):
    with zipfile.ZipFile(folder / "model.keras", "a") as archive:
        archive.writestr("config.json", "{}")


def zip_in_zip(folder, touch):
    with zipfile.ZipFile(folder / "model.keras", "a") as archive:
        archive.writestr("assets/more.zip", (folder / "model.keras").read_bytes())


def bomb(folder, touch):
    edit_zip(folder / "model.keras", model__weights__h5=bytes(200 << 20))


def bomb_of_config(folder, touch):
    edit_zip(folder / "model.keras", config__json=b"[" * (1 << 20))


def edit_directory(path: Path, offset: int, content: bytes) -> None:
    """Overwrite a field of the first entry of a zip's central directory."""
    data = bytearray(path.read_bytes())
    start = data.index(b"PK\x01\x02") + offset
    data[start : start + len(content)] = content
    path.write_bytes(data)


def zip_encrypted(folder, touch):
    edit_directory(folder / "model.keras", 8, b"\x01\x00")


def zip_understates_its_size(folder, touch):
    edit_directory(folder / "model.keras", 24, b"\x08\x00\x00\x00")


def zip_packed_strangely(folder, touch):
    edit_directory(folder / "model.keras", 10, b"\x63\x00")


def keras_cut_short(folder, touch):
    path = folder / "model.keras"
    path.write_bytes(path.read_bytes()[:-1000])


def keras_flipped(folder, touch):
    path = folder / "model.keras"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 255
    path.write_bytes(data)


def keras_2(folder, touch):
    edit_zip(folder / "model.keras", metadata__json=b'{"keras_version": "2.15.0"}')


# --- weights


def keras_nan(folder, touch):
    def change(file):
        file["layers/dense/vars/0"][0, 0] = np.nan

    edit_weights(folder / "model.keras", change)


def keras_weights_elsewhere(folder, touch):
    def change(file):
        file["layers/extra"] = h5py.ExternalLink("/etc/passwd", "/")

    edit_weights(folder / "model.keras", change)


def keras_weights_outside(folder, touch):
    def change(file):
        file.create_dataset("extra", (4,), "u1", external=[("/etc/passwd", 0, 4)])

    edit_weights(folder / "model.keras", change)


def keras_weights_packed(folder, touch):
    def change(file):
        file.create_dataset("extra", data=np.zeros(1 << 20), compression="gzip")

    edit_weights(folder / "model.keras", change)


def keras_weights_text(folder, touch):
    edit_weights(folder / "model.keras", lambda file: file.create_dataset("extra", data="exec"))


def _onnx_weights(value):
    def poison(folder, touch):
        def change(model):
            tensor = max(model.graph.initializer, key=lambda t: len(t.raw_data))
            weights = numpy_helper.to_array(tensor).copy()
            weights.flat[7] = value
            tensor.CopyFrom(numpy_helper.from_array(weights, tensor.name))

        edit_graph(folder / "model.onnx", change)

    return poison


onnx_nan = _onnx_weights(np.nan)
onnx_infinite = _onnx_weights(-np.inf)


def onnx_constant_nan(folder, touch):
    def change(model):
        value = numpy_helper.from_array(np.array([np.nan], np.float32), "v")
        model.graph.node.insert(0, helper.make_node("Constant", [], ["bad"], value=value))

    edit_graph(folder / "model.onnx", change)


# --- graphs


def onnx_cut_short(folder, touch):
    path = folder / "model.onnx"
    path.write_bytes(path.read_bytes()[:-1000])


def onnx_empty(folder, touch):
    (folder / "model.onnx").write_bytes(b"")


def onnx_external(folder, touch):
    def change(model):
        tensor = model.graph.initializer[0]
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value="../../etc/passwd")

    edit_graph(folder / "model.onnx", change)


def onnx_foreign_operator(folder, touch):
    def change(model):
        model.opset_import.append(helper.make_opsetid("com.evil", 1))
        model.graph.node.append(helper.make_node("Run", ["values"], ["x"], domain="com.evil"))

    edit_graph(folder / "model.onnx", change)


def onnx_microsoft_operator(folder, touch):
    def change(model):
        model.graph.node.append(helper.make_node("PyOp", ["values"], ["x"], domain="ai.onnx.contrib"))

    edit_graph(folder / "model.onnx", change)


def onnx_endless_loop(folder, touch):
    def change(model):
        body = helper.make_graph([], "body", [], [])
        model.graph.node.append(helper.make_node("Loop", ["", "", "values"], ["x"], body=body))

    edit_graph(folder / "model.onnx", change)


def onnx_function(folder, touch):
    def change(model):
        model.functions.add(name="Hidden", domain="")

    edit_graph(folder / "model.onnx", change)


def onnx_extra_input(folder, touch):
    def change(model):
        model.graph.input.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, [1]))

    edit_graph(folder / "model.onnx", change)


def onnx_fixed_batch(folder, touch):
    def change(model):
        model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1

    edit_graph(folder / "model.onnx", change)


def onnx_double(folder, touch):
    def change(model):
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.DOUBLE

    edit_graph(folder / "model.onnx", change)


def onnx_view_of_another_name(folder, touch):
    def change(model):
        graph = model.graph
        graph.node.append(helper.make_node("Identity", [graph.output[0].name], ["oracle"]))
        graph.output[0].name = "oracle"

    edit_graph(folder / "model.onnx", change)


def onnx_gives_what_keras_does_not(folder, touch):
    """Or does not give what Keras does."""

    def change(model):
        outputs = model.graph.output
        names = [made.name for made in outputs]
        if "prediction" in names:
            del outputs[names.index("prediction")]
            return
        model.graph.node.append(helper.make_node("Identity", ["reconstruction"], ["prediction"]))
        outputs.add().CopyFrom(outputs[0])
        outputs[1].name = "prediction"

    edit_graph(folder / "model.onnx", change)


def onnx_view_that_is_never_finite(folder, touch):
    def change(model):
        graph, name = model.graph, model.graph.output[0].name
        for node in graph.node:
            node.output[:] = ["finite" if n == name else n for n in node.output]
        zero = numpy_helper.from_array(np.zeros(1, np.float32), "zero")
        graph.initializer.append(zero)
        graph.node.append(helper.make_node("Div", ["finite", "zero"], [name]))

    edit_graph(folder / "model.onnx", change)


def onnx_dangling(folder, touch):
    edit_graph(folder / "model.onnx", lambda model: model.graph.node.pop(0))


def onnx_weights_of_another_shape(folder, touch):
    def change(model):
        tensor = next(t for t in model.graph.initializer if t.name.startswith("W0"))
        tensor.CopyFrom(numpy_helper.from_array(np.zeros((1, 8, 3), np.float32), tensor.name))

    edit_graph(folder / "model.onnx", change)


# --- manifest, preparer, detector


def window_of_another_length(folder, touch):
    edit_manifest(folder, window={"length": 32})


def another_number_of_features(folder, touch):
    edit_manifest(folder, features=["pressure", "flow"])


def unknown_format(folder, touch):
    edit_manifest(folder, format="offbeat.bundle/99")


def unknown_key(folder, touch):
    edit_manifest(folder, run="exec")


def wrong_kind(folder, touch):
    edit_manifest(folder, kind="oracle")


def no_members(folder, touch):
    edit_manifest(folder, members={})


def member_elsewhere(folder, touch):
    edit_manifest(folder, members={"": "../../model"})


def member_swapped(folder, touch):
    edit_manifest(folder, members={"pump-1": "model"})


def not_a_number(folder, touch):
    (folder / "detector.json").write_text('{"threshold": NaN}')


def infinite_in_digits(folder, touch):
    (folder / "detector.json").write_text('{"threshold": 1e999}')


def name_no_text_can_have(folder, touch):
    edit_manifest(folder, members={"\ud800": "model"})


def said_twice(folder, touch):
    (folder / "detector.json").write_text('{"threshold": 1, "threshold": 1e9}')


def not_an_object(folder, touch):
    (folder / "preparer.json").write_text("[]")


def too_deep(folder, touch):
    (folder / "preparer.json").write_text('{"a":' * 200_000)


def not_utf8(folder, touch):
    (folder / "manifest.json").write_bytes(b'{"stream": "\xff"}')


CORPUS = {
    name: poison
    for name, poison in list(globals().items())
    if getattr(poison, "__code__", None) and poison.__code__.co_varnames[:2] == ("folder", "touch")
}
