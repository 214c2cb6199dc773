#include <cstring>
#include <string>

#include "host_checks.h"
#include "plugin_calls.h"

namespace host {

namespace {

using nvinfer1::PluginField;
using nvinfer1::PluginFieldCollection;

// Fields as TensorRT keeps them in an engine: copies of what they point to.
class SavedFields {
 public:
  explicit SavedFields(const PluginFieldCollection& fields) {
    for (int32_t i = 0; i < fields.nbFields; ++i) {
      const PluginField& field = fields.fields[i];
      const auto* data = static_cast<const char*>(field.data);
      names_.push_back(std::make_unique<std::string>(field.name));
      // The plugins have int32 fields alone.
      data_.push_back(std::make_unique<std::string>(data, sizeof(int32_t) * static_cast<size_t>(field.length)));
      fields_.push_back(PluginField(field));
      fields_.back().name = names_.back()->c_str();
      fields_.back().data = data_.back()->data();
    }
  }

  PluginFieldCollection fields() const { return collection(fields_); }

  bool operator==(const SavedFields& other) const {
    if (fields_.size() != other.fields_.size()) return false;
    for (size_t i = 0; i < fields_.size(); ++i) {
      if (*names_[i] != *other.names_[i] || *data_[i] != *other.data_[i] || fields_[i].type != other.fields_[i].type) {
        return false;
      }
    }
    return true;
  }

 private:
  std::vector<std::unique_ptr<std::string>> names_, data_;
  std::vector<PluginField> fields_;
};

std::vector<nvinfer1::DynamicPluginTensorDesc> at_build(const Case& of) {
  std::vector<nvinfer1::DynamicPluginTensorDesc> all;
  for (const auto* tensors : {&of.inputs, &of.outputs}) {
    for (const Tensor& tensor : *tensors) {
      all.push_back({tensor.desc, tensor.desc.dims, tensor.desc.dims, tensor.desc.dims});
    }
  }
  return all;
}

bool accepts(nvinfer1::IPluginV3& plugin, const Case& of, int32_t position, DataType type,
             nvinfer1::TensorFormat format) {
  auto all = at_build(of);
  all[static_cast<size_t>(position)].desc.type = type;
  all[static_cast<size_t>(position)].desc.format = format;
  return build_of(plugin)->supportsFormatCombination(position, all.data(), static_cast<int32_t>(of.inputs.size()),
                                                     static_cast<int32_t>(of.outputs.size()));
}

// The types that a tensor can have, the others of the case being as they are.
bool supports_what_it_should(nvinfer1::IPluginV3& plugin, const Case& of) {
  const auto all = at_build(of);
  for (int32_t position = 0; position < static_cast<int32_t>(all.size()); ++position) {
    const DataType own = all[static_cast<size_t>(position)].desc.type;
    for (const DataType type : {DataType::kFLOAT, DataType::kHALF, DataType::kBF16, DataType::kINT32, DataType::kINT64,
                                DataType::kINT8, DataType::kBOOL}) {
      const bool a_float = type == DataType::kFLOAT || type == DataType::kHALF || type == DataType::kBF16;
      const bool wanted = position == 0 ? a_float : type == own;
      if (accepts(plugin, of, position, type, nvinfer1::TensorFormat::kLINEAR) != wanted) return false;
      if (accepts(plugin, of, position, type, nvinfer1::TensorFormat::kCHW2)) return false;
    }
  }
  return true;
}

bool finds_output_types(nvinfer1::IPluginV3& plugin, const Case& of) {
  std::vector<DataType> inputs, outputs(of.outputs.size(), DataType::kBOOL);
  for (const Tensor& tensor : of.inputs) inputs.push_back(tensor.desc.type);
  const int32_t status = build_of(plugin)->getOutputDataTypes(outputs.data(), static_cast<int32_t>(outputs.size()),
                                                              inputs.data(), static_cast<int32_t>(inputs.size()));
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i] != of.outputs[i].desc.type) return false;
  }
  return status == 0;
}

// Widths and taps are constants of a network, tokens and rows are not.
bool finds_output_shapes(nvinfer1::IPluginV3& plugin, const Case& of, bool all_constant) {
  ExpressionBuilder builder;
  std::vector<nvinfer1::DimsExprs> inputs(of.inputs.size()), outputs(of.outputs.size());
  for (size_t i = 0; i < inputs.size(); ++i) {
    const nvinfer1::Dims& dims = of.inputs[i].desc.dims;
    const bool is_state_or_data = dims.nbDims > 1 && i != 1;
    inputs[i].nbDims = dims.nbDims;
    for (int32_t d = 0; d < dims.nbDims; ++d) {
      const bool dynamic = d == 0 && (is_state_or_data || of.inputs[i].desc.type == DataType::kINT32);
      inputs[i].d[d] = builder.make(dims.d[d], all_constant || !dynamic);
    }
  }
  const int32_t status =
      build_of(plugin)->getOutputShapes(inputs.data(), static_cast<int32_t>(inputs.size()), nullptr, 0, outputs.data(),
                                        static_cast<int32_t>(outputs.size()), builder);
  if (status != 0) return false;
  for (size_t i = 0; i < outputs.size(); ++i) {
    const nvinfer1::Dims& dims = of.outputs[i].desc.dims;
    if (outputs[i].nbDims != dims.nbDims) return false;
    for (int32_t d = 0; d < dims.nbDims; ++d) {
      const auto& found = static_cast<const Expression&>(*outputs[i].d[d]);
      if (found.value() != dims.d[d] || found.isConstant() != (all_constant || d > 0)) return false;
    }
  }
  return true;
}

int32_t configure(nvinfer1::IPluginV3& plugin, const Case& of, bool dynamic) {
  auto all = at_build(of);
  for (auto& tensor : all) {
    const bool is_weight = tensor.desc.dims.nbDims == 1 && tensor.desc.type != DataType::kINT32;
    if (dynamic && !is_weight) tensor.desc.dims.d[0] = -1;
  }
  const auto n_inputs = static_cast<int32_t>(of.inputs.size());
  return build_of(plugin)->configurePlugin(all.data(), n_inputs, all.data() + n_inputs,
                                           static_cast<int32_t>(of.outputs.size()));
}

}  // namespace

void check_creators(const Library& library, Checks& checks) {
  checks.expect(library.n_creators() == 2, "two creators");
  for (const char* op : {"GatedScan", "CausalConv1d"}) {
    nvinfer1::IPluginCreatorV3One* creator = library.creator(op);
    if (!checks.expect(creator != nullptr, std::string(op) + ": has a creator")) continue;
    checks.expect(std::strcmp(creator->getPluginNamespace(), "recblr") == 0 &&
                      std::strcmp(creator->getPluginVersion(), "1") == 0 &&
                      creator->getAPILanguage() == nvinfer1::APILanguage::kCPP,
                  std::string(op) + ": namespace, version and language");
    const PluginFieldCollection* names = creator->getFieldNames();
    const bool is_scan = std::strcmp(op, "GatedScan") == 0;
    checks.expect(names != nullptr && names->nbFields == (is_scan ? 1 : 0) &&
                      (!is_scan || (std::strcmp(names->fields[0].name, "last_only") == 0 &&
                                    names->fields[0].type == nvinfer1::PluginFieldType::kINT32)),
                  std::string(op) + ": attributes");
  }
}

void check_serialization(const Library& library, const std::vector<Case>& cases, Checks& checks) {
  bool kept = true, cloned = true, attached = true, named = true;
  for (const Case& each : cases) {
    PluginPointer plugin = make_plugin(library, each);
    const SavedFields saved(*runtime_of(*plugin)->getFieldsToSerialize());
    const PluginFieldCollection fields = saved.fields();
    PluginPointer restored(
        library.creator(each.op)->createPlugin(each.text.c_str(), &fields, nvinfer1::TensorRTPhase::kRUNTIME));
    PluginPointer clone(plugin->clone());
    PluginPointer context(runtime_of(*plugin)->attachToContext(nullptr));
    plugin.reset();  // the others must not need it
    const auto same = [&](const PluginPointer& other) {
      return other != nullptr && SavedFields(*runtime_of(*other)->getFieldsToSerialize()) == saved &&
             change_shape(*other, each) == 0;
    };
    kept &= same(restored);
    cloned &= same(clone);
    attached &= same(context);
    const nvinfer1::IPluginV3OneCore* core = core_of(*clone);
    named &= each.op == core->getPluginName() && std::strcmp(core->getPluginVersion(), "1") == 0 &&
             std::strcmp(core->getPluginNamespace(), "recblr") == 0;
  }
  checks.expect(kept, "serialized plugins come back as they were");
  checks.expect(cloned, "clones are like the original, and outlive it");
  checks.expect(attached, "so are the plugins of contexts");
  checks.expect(named, "plugins have the names of their creators");
}

void check_build_methods(const Library& library, const std::vector<Case>& cases, Checks& checks) {
  for (const Case& each : cases) {
    PluginPointer plugin = make_plugin(library, each);
    nvinfer1::IPluginV3OneBuild* build = build_of(*plugin);
    const auto all = at_build(each);
    const auto n_inputs = static_cast<int32_t>(each.inputs.size());
    std::string failed;
    const auto check = [&](bool passed, const char* what) { failed += passed ? "" : std::string(" ") + what; };
    check(build->getNbOutputs() == 2, "getNbOutputs");
    check(finds_output_types(*plugin, each), "getOutputDataTypes");
    check(finds_output_shapes(*plugin, each, false) && finds_output_shapes(*plugin, each, true), "getOutputShapes");
    check(supports_what_it_should(*plugin, each), "supportsFormatCombination");
    check(configure(*plugin, each, true) == 0 && configure(*plugin, each, false) == 0, "configurePlugin");
    check(build->getWorkspaceSize(all.data(), n_inputs, all.data() + n_inputs, 2) == 0, "getWorkspaceSize");
    check(build->getNbTactics() == 0 && runtime_of(*plugin)->setTactic(0) == 0, "tactics");
    check(build->getFormatCombinationLimit() >= 3, "getFormatCombinationLimit");
    const char* id = build->getTimingCacheID();
    check(id != nullptr && std::strcmp(id, build_of(*make_plugin(library, each))->getTimingCacheID()) == 0,
          "getTimingCacheID");
    check(change_shape(*plugin, each) == 0, "onShapeChange");
    checks.expect(failed.empty(), each.text + ": build-time methods", failed);
  }
}

}  // namespace host
