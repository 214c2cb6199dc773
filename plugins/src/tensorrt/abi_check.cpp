// Compares nvinfer_abi.h with NVIDIA's headers: layouts, constants and signatures when this is compiled, the places of
// virtual methods and the interfaces' names when it is run. Places are read from pointers to members.
#include <NvInferRuntime.h>
#include <NvInferVersion.h>

#include <cstddef>
#include <cstdio>
#include <cstring>
#include <type_traits>
#include <typeinfo>

#define RECBLR_NVINFER_NAMESPACE recblr_nvinfer
#include "tensorrt/nvinfer_abi.h"

namespace nv = nvinfer1;
namespace our = recblr_nvinfer;

namespace {

// Whether two types are passed alike: equal, or of one kind and size, and pointing to types of which the same holds.
template <typename A, typename B>
constexpr bool alike() {
  if constexpr (std::is_same_v<A, B>) {
    return true;
  } else if constexpr (std::is_reference_v<A> || std::is_reference_v<B>) {
    return std::is_lvalue_reference_v<A> == std::is_lvalue_reference_v<B> &&
           std::is_rvalue_reference_v<A> == std::is_rvalue_reference_v<B> &&
           std::is_const_v<std::remove_reference_t<A>> == std::is_const_v<std::remove_reference_t<B>> &&
           std::is_class_v<std::remove_reference_t<A>> == std::is_class_v<std::remove_reference_t<B>>;
  } else if constexpr (std::is_pointer_v<A> || std::is_pointer_v<B>) {
    if constexpr (std::is_pointer_v<A> && std::is_pointer_v<B>) {
      using ToA = std::remove_pointer_t<A>;
      using ToB = std::remove_pointer_t<B>;
      if constexpr (std::is_const_v<ToA> != std::is_const_v<ToB>) {
        return false;
      } else if constexpr (std::is_pointer_v<ToA> || std::is_enum_v<ToA> || std::is_arithmetic_v<ToA>) {
        return alike<ToA, ToB>();
      } else {
        return std::is_class_v<ToA> == std::is_class_v<ToB>;  // which may be incomplete
      }
    } else {
      return false;
    }
  } else if constexpr (std::is_enum_v<A> && std::is_enum_v<B>) {
    return std::is_same_v<std::underlying_type_t<A>, std::underlying_type_t<B>>;
  } else if constexpr (std::is_class_v<A> && std::is_class_v<B>) {
    return sizeof(A) == sizeof(B) && alignof(A) == alignof(B);
  } else {
    return false;
  }
}

template <typename A, typename B>
struct SameSignature : std::false_type {};

#define SAME_SIGNATURE(QUALIFIERS)                                                                        \
  template <typename OfA, typename A, typename... InA, typename OfB, typename B, typename... InB>         \
  struct SameSignature<A (OfA::*)(InA...) QUALIFIERS, B (OfB::*)(InB...) QUALIFIERS> {                    \
    static constexpr bool compare() {                                                                     \
      if constexpr (sizeof...(InA) == sizeof...(InB)) return alike<A, B>() && (alike<InA, InB>() && ...); \
      return false;                                                                                       \
    }                                                                                                     \
    static constexpr bool value = compare();                                                              \
  };
SAME_SIGNATURE()
SAME_SIGNATURE(const)
SAME_SIGNATURE(noexcept)
SAME_SIGNATURE(const noexcept)

int checked = 0;
int different = 0;

void expect(bool same, const char* what) {
  ++checked;
  if (same) return;
  ++different;
  std::fprintf(stderr, "differs from NVIDIA's headers: %s\n", what);
}

template <typename Ours, typename Theirs>
bool same_place(Ours ours, Theirs theirs) {
  static_assert(sizeof ours == sizeof theirs, "pointers to virtual methods");
  return std::memcmp(&ours, &theirs, sizeof ours) == 0;
}

#define LAYOUT(CLASS)                                             \
  static_assert(sizeof(our::CLASS) == sizeof(nv::CLASS), #CLASS); \
  static_assert(alignof(our::CLASS) == alignof(nv::CLASS), #CLASS)
#define MEMBER(CLASS, NAME)                                                                  \
  static_assert(offsetof(our::CLASS, NAME) == offsetof(nv::CLASS, NAME), #CLASS "::" #NAME); \
  static_assert(sizeof(our::CLASS::NAME) == sizeof(nv::CLASS::NAME), #CLASS "::" #NAME)
#define ENUM(NAME) static_assert(alike<our::NAME, nv::NAME>(), #NAME)
#define VALUE(ENUM, NAME) \
  static_assert(static_cast<int64_t>(our::ENUM::NAME) == static_cast<int64_t>(nv::ENUM::NAME), #ENUM "::" #NAME)
#define METHOD(OURS, THEIRS, NAME)                                                                                  \
  static_assert(SameSignature<decltype(&our::OURS::NAME), decltype(&nv::THEIRS::NAME)>::value, #THEIRS "::" #NAME); \
  expect(same_place(&our::OURS::NAME, &nv::THEIRS::NAME), #THEIRS "::" #NAME)

LAYOUT(Dims);
MEMBER(Dims, nbDims);
MEMBER(Dims, d);
static_assert(our::Dims::MAX_DIMS == nv::Dims::MAX_DIMS);
LAYOUT(InterfaceInfo);
MEMBER(InterfaceInfo, kind);
MEMBER(InterfaceInfo, major);
MEMBER(InterfaceInfo, minor);
LAYOUT(PluginField);
MEMBER(PluginField, name);
MEMBER(PluginField, data);
MEMBER(PluginField, type);
MEMBER(PluginField, length);
LAYOUT(PluginFieldCollection);
MEMBER(PluginFieldCollection, nbFields);
MEMBER(PluginFieldCollection, fields);
LAYOUT(PluginTensorDesc);
MEMBER(PluginTensorDesc, dims);
MEMBER(PluginTensorDesc, type);
MEMBER(PluginTensorDesc, format);
MEMBER(PluginTensorDesc, scale);
LAYOUT(DynamicPluginTensorDesc);
MEMBER(DynamicPluginTensorDesc, desc);
MEMBER(DynamicPluginTensorDesc, min);
MEMBER(DynamicPluginTensorDesc, max);
MEMBER(DynamicPluginTensorDesc, opt);
LAYOUT(DimsExprs);
MEMBER(DimsExprs, nbDims);
MEMBER(DimsExprs, d);
LAYOUT(IVersionedInterface);
LAYOUT(IDimensionExpr);
LAYOUT(IExprBuilder);
LAYOUT(apiv::VDimensionExpr);
LAYOUT(apiv::VExprBuilder);
LAYOUT(IPluginCapability);
LAYOUT(IPluginV3);
LAYOUT(IPluginV3OneCore);
LAYOUT(IPluginV3OneBuild);
LAYOUT(IPluginV3OneRuntime);
LAYOUT(IPluginCreatorInterface);
LAYOUT(IPluginCreatorV3One);

ENUM(DataType);
VALUE(DataType, kFLOAT);
VALUE(DataType, kHALF);
VALUE(DataType, kINT8);
VALUE(DataType, kINT32);
VALUE(DataType, kBOOL);
VALUE(DataType, kBF16);
VALUE(DataType, kINT64);
ENUM(TensorFormat);
VALUE(TensorFormat, kLINEAR);
VALUE(TensorFormat, kCHW2);
ENUM(DimensionOperation);
VALUE(DimensionOperation, kSUM);
VALUE(DimensionOperation, kPROD);
VALUE(DimensionOperation, kMAX);
VALUE(DimensionOperation, kMIN);
VALUE(DimensionOperation, kSUB);
ENUM(PluginFieldType);
VALUE(PluginFieldType, kFLOAT32);
VALUE(PluginFieldType, kINT32);
VALUE(PluginFieldType, kCHAR);
VALUE(PluginFieldType, kUNKNOWN);
VALUE(PluginFieldType, kINT64);
ENUM(PluginCapabilityType);
VALUE(PluginCapabilityType, kCORE);
VALUE(PluginCapabilityType, kBUILD);
VALUE(PluginCapabilityType, kRUNTIME);
ENUM(TensorRTPhase);
VALUE(TensorRTPhase, kBUILD);
VALUE(TensorRTPhase, kRUNTIME);
ENUM(APILanguage);
VALUE(APILanguage, kCPP);
VALUE(APILanguage, kPYTHON);
ENUM(ILogger::Severity);
VALUE(ILogger::Severity, kINTERNAL_ERROR);
VALUE(ILogger::Severity, kERROR);
VALUE(ILogger::Severity, kWARNING);
VALUE(ILogger::Severity, kINFO);
VALUE(ILogger::Severity, kVERBOSE);
static_assert(our::IPluginV3OneBuild::kDEFAULT_FORMAT_COMBINATION_LIMIT ==
              nv::IPluginV3OneBuild::kDEFAULT_FORMAT_COMBINATION_LIMIT);

// mImpl, through which the classes that are no interfaces forward, is protected.
template <typename Expression>
struct Opened : Expression {
  static size_t place_of_implementation() {
    alignas(Opened) static unsigned char storage[sizeof(Opened)];
    const auto* object = reinterpret_cast<const Opened*>(storage);
    return static_cast<size_t>(reinterpret_cast<const unsigned char*>(&object->mImpl) - storage);
  }
};

// Interface names and versions, which TensorRT asks for, as the classes themselves give them.
template <typename Interface>
struct Info : Interface {
  static our::InterfaceInfo of(const Interface* object) {
    const auto info = object->Interface::getInterfaceInfo();
    return {info.kind, info.major, info.minor};
  }
};

template <typename Ours, typename Theirs>
void expect_same_info(const char* name) {
  // getInterfaceInfo of these classes uses no member, so that no object is needed beyond its address.
  alignas(16) static unsigned char storage[64];
  const auto ours = Info<Ours>::of(reinterpret_cast<const Ours*>(storage));
  const auto theirs = Info<Theirs>::of(reinterpret_cast<const Theirs*>(storage));
  expect(std::strcmp(ours.kind, theirs.kind) == 0 && ours.major == theirs.major && ours.minor == theirs.minor, name);
}

// The names in type information differ in the outer namespace alone.
template <typename Ours, typename Theirs>
void expect_same_name(const char* name) {
  const char* ours = std::strstr(typeid(Ours).name(), "recblr_nvinfer");
  const char* theirs = std::strstr(typeid(Theirs).name(), "nvinfer1");
  expect(ours != nullptr && theirs != nullptr &&
             std::strcmp(ours + std::strlen("recblr_nvinfer"), theirs + std::strlen("nvinfer1")) == 0,
         name);
}

#define INTERFACE(NAME)                                              \
  expect_same_info<our::NAME, nv::NAME>(#NAME "::getInterfaceInfo"); \
  expect_same_name<our::NAME, nv::NAME>(#NAME "'s name");            \
  METHOD(NAME, NAME, getAPILanguage);                                \
  METHOD(NAME, NAME, getInterfaceInfo)

void check_interfaces() {
  METHOD(IVersionedInterface, IVersionedInterface, getAPILanguage);
  METHOD(IVersionedInterface, IVersionedInterface, getInterfaceInfo);

  INTERFACE(IPluginV3);
  METHOD(IPluginV3, IPluginV3, getCapabilityInterface);
  METHOD(IPluginV3, IPluginV3, clone);

  INTERFACE(IPluginV3OneCore);
  METHOD(IPluginV3OneCore, IPluginV3OneCore, getPluginName);
  METHOD(IPluginV3OneCore, IPluginV3OneCore, getPluginVersion);
  METHOD(IPluginV3OneCore, IPluginV3OneCore, getPluginNamespace);

  INTERFACE(IPluginV3OneBuild);
  METHOD(IPluginV3OneBuild, IPluginV3OneBuild, configurePlugin);
  METHOD(IPluginV3OneBuild, IPluginV3OneBuild, getOutputDataTypes);
  METHOD(IPluginV3OneBuild, IPluginV3OneBuild, getOutputShapes);
  METHOD(IPluginV3OneBuild, IPluginV3OneBuild, supportsFormatCombination);
  METHOD(IPluginV3OneBuild, IPluginV3OneBuild, getNbOutputs);
  METHOD(IPluginV3OneBuild, IPluginV3OneBuild, getWorkspaceSize);
  METHOD(IPluginV3OneBuild, IPluginV3OneBuild, getValidTactics);
  METHOD(IPluginV3OneBuild, IPluginV3OneBuild, getNbTactics);
  METHOD(IPluginV3OneBuild, IPluginV3OneBuild, getTimingCacheID);
  METHOD(IPluginV3OneBuild, IPluginV3OneBuild, getFormatCombinationLimit);
  METHOD(IPluginV3OneBuild, IPluginV3OneBuild, getMetadataString);

  INTERFACE(IPluginV3OneRuntime);
  METHOD(IPluginV3OneRuntime, IPluginV3OneRuntime, setTactic);
  METHOD(IPluginV3OneRuntime, IPluginV3OneRuntime, onShapeChange);
  METHOD(IPluginV3OneRuntime, IPluginV3OneRuntime, enqueue);
  METHOD(IPluginV3OneRuntime, IPluginV3OneRuntime, attachToContext);
  METHOD(IPluginV3OneRuntime, IPluginV3OneRuntime, getFieldsToSerialize);

  INTERFACE(IPluginCreatorV3One);
  METHOD(IPluginCreatorV3One, IPluginCreatorV3One, createPlugin);
  METHOD(IPluginCreatorV3One, IPluginCreatorV3One, getFieldNames);
  METHOD(IPluginCreatorV3One, IPluginCreatorV3One, getPluginName);
  METHOD(IPluginCreatorV3One, IPluginCreatorV3One, getPluginVersion);
  METHOD(IPluginCreatorV3One, IPluginCreatorV3One, getPluginNamespace);
}

void check_expressions() {
  METHOD(apiv::VDimensionExpr, apiv::VDimensionExpr, isConstant);
  METHOD(apiv::VDimensionExpr, apiv::VDimensionExpr, getConstantValue);
  METHOD(apiv::VDimensionExpr, apiv::VDimensionExpr, isSizeTensor);
  METHOD(apiv::VExprBuilder, apiv::VExprBuilder, constant);
  METHOD(apiv::VExprBuilder, apiv::VExprBuilder, operation);
  METHOD(apiv::VExprBuilder, apiv::VExprBuilder, declareSizeTensor);
  expect(
      Opened<our::IDimensionExpr>::place_of_implementation() == Opened<nv::IDimensionExpr>::place_of_implementation(),
      "IDimensionExpr's implementation");
  expect(Opened<our::IExprBuilder>::place_of_implementation() == Opened<nv::IExprBuilder>::place_of_implementation(),
         "IExprBuilder's implementation");
}

// The loggers are versioned interfaces, or they are not: ours of the same kind is compared.
template <typename TheirLogger>
const char* check_loggers() {
  if constexpr (std::is_base_of_v<nv::IVersionedInterface, TheirLogger>) {
    METHOD(v_1_0::ILogger, ILogger, log);
    METHOD(v_1_0::ILoggerFinder, ILoggerFinder, findLogger);
    expect_same_name<our::v_1_0::ILogger, nv::ILogger>("ILogger's name");
    expect_same_name<our::v_1_0::ILoggerFinder, nv::ILoggerFinder>("ILoggerFinder's name");
    return "versioned";
  } else {
    METHOD(ILogger, ILogger, log);
    METHOD(ILoggerFinder, ILoggerFinder, findLogger);
    expect_same_name<our::ILogger, nv::ILogger>("ILogger's name");
    expect_same_name<our::ILoggerFinder, nv::ILoggerFinder>("ILoggerFinder's name");
    return "unversioned";
  }
}

}  // namespace

int main() {
  check_interfaces();
  check_expressions();
  const char* loggers = check_loggers<nv::ILogger>();
  std::printf("TensorRT %d.%d.%d, loggers %s: %d of %d places and names agree\n", NV_TENSORRT_MAJOR, NV_TENSORRT_MINOR,
              NV_TENSORRT_PATCH, loggers, checked - different, checked);
  return different == 0 ? 0 : 1;
}
