"""Checks graph.onnx files with ONNX's own checker, shape inference included. Usage: check_onnx.py FILE..."""

import sys

import onnx


def main(paths: list[str]) -> None:
    for path in paths:
        onnx.checker.check_model(path, full_check=True)
        model = onnx.load(path, load_external_data=False)
        inferred = onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        print(f"{path}: {len(model.graph.node)} nodes, {len(inferred.graph.value_info)} inferred values, valid")


if __name__ == "__main__":
    main(sys.argv[1:])
